// Result<T>: a value or an Error. The engine's only way to report what input or environment did
// wrong; exceptions of libraries are caught where the library is called and become Errors there.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace qllama {

enum class ErrorCode {
    NotFound,        // a file or folder that is not there
    InvalidFile,     // there, but damaged, strange or hostile
    Unsupported,     // sound, but not something this program handles
    InvalidRequest,  // a setting or prompt that cannot be honoured
    OutOfMemory,
    Device,     // a compute device failed or is missing
    Io,         // the operating system refused a read or a write
    Cancelled,  // somebody pressed Stop; not a failure
};

// One failure, ready to show: `message` is a whole sentence that says what is wrong and, where
// something can be done, what to do. `where` names the file, tensor, or byte offset (may be empty).
struct Error {
    ErrorCode code = ErrorCode::InvalidFile;
    std::string message;
    std::string where;

    // "message (where)", the form both front ends show.
    [[nodiscard]] std::string text() const {
        return where.empty() ? message : message + " (" + where + ")";
    }
};

template <typename T>
class [[nodiscard]] Result {
public:
    Result(T value) : m_state(std::in_place_index<0>, std::move(value)) {}  // implicit, for return
    Result(Error error)
        : m_state(std::in_place_index<1>, std::move(error)) {}  // implicit, for return

    [[nodiscard]] bool ok() const { return m_state.index() == 0; }
    explicit operator bool() const { return ok(); }

    [[nodiscard]] T& value() & {
        assert(ok());
        return *std::get_if<0>(&m_state);
    }
    [[nodiscard]] const T& value() const& {
        assert(ok());
        return *std::get_if<0>(&m_state);
    }
    [[nodiscard]] T&& value() && {
        assert(ok());
        return std::move(*std::get_if<0>(&m_state));
    }
    [[nodiscard]] const Error& error() const {
        assert(!ok());
        return *std::get_if<1>(&m_state);
    }

private:
    std::variant<T, Error> m_state;
};

template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : m_error(std::move(error)) {}  // implicit, for return

    [[nodiscard]] bool ok() const { return !m_error; }
    explicit operator bool() const { return ok(); }
    [[nodiscard]] const Error& error() const {
        assert(m_error);
        return *m_error;
    }

private:
    std::optional<Error> m_error;
};

inline Error cancelledError() {
    return {ErrorCode::Cancelled, "Cancelled.", {}};
}

}  // namespace qllama

// QLLAMA_TRY(auto file, MappedFile::open(path)); declares `file`, or returns the error.
#define QLLAMA_CONCAT_INNER(a, b) a##b
#define QLLAMA_CONCAT(a, b) QLLAMA_CONCAT_INNER(a, b)
#define QLLAMA_TRY_IMPL(result, declaration, expression) \
    auto result = (expression);                          \
    if (!result.ok()) return result.error();             \
    declaration = std::move(result).value()
#define QLLAMA_TRY(declaration, expression) \
    QLLAMA_TRY_IMPL(QLLAMA_CONCAT(tryResult, __LINE__), declaration, expression)

// QLLAMA_CHECK(step()); for Result<void>.
#define QLLAMA_CHECK(expression)                                                \
    do {                                                                        \
        if (auto checked = (expression); !checked.ok()) return checked.error(); \
    } while (false)
