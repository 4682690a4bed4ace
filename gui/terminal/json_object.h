// Writes JSON: objects keep the order in which their members were added and take one line.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qllama {

// JSON text of one value. Text is made valid UTF-8 first (invalid bytes become U+FFFD).
std::string jsonText(std::string_view text);
std::string jsonText(double number);  // shortest form that reads back the same; not finite: null
std::string jsonText(float number);

template <typename Integer>
requires std::integral<Integer> std::string jsonText(Integer number) {
    if constexpr (std::same_as<Integer, bool>) {
        return number ? "true" : "false";
    } else {
        return std::to_string(number);
    }
}

template <typename Value>
std::string jsonText(const std::vector<Value>& values);

class JsonObject {
public:
    template <typename Value>
    JsonObject& add(std::string_view key, const Value& value) {
        return addText(key, jsonText(value));
    }
    JsonObject& add(std::string_view key, const char* text) {
        return addText(key, jsonText(std::string_view(text)));
    }
    JsonObject& addNull(std::string_view key) { return addText(key, "null"); }

    [[nodiscard]] std::string text() const { return "{" + m_members + "}"; }

private:
    JsonObject& addText(std::string_view key, const std::string& value);

    std::string m_members;
};

inline std::string jsonText(const JsonObject& object) {
    return object.text();
}

template <typename Value>
std::string jsonText(const std::vector<Value>& values) {
    std::string text = "[";
    for (const Value& value : values) {
        if (text.size() > 1) text += ',';
        text += jsonText(value);
    }
    return text + "]";
}

// What a failure looks like on standard output with --json, as a whole line.
inline std::string jsonErrorLine(std::string_view message) {
    return JsonObject().add("event", "error").add("message", message).text() + "\n";
}

}  // namespace qllama
