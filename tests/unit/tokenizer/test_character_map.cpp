// Small hand-made tries: sound ones pass, and each way to lead the library astray is noticed.
#include <QtTest>
#include <vector>

#include "engine/tokenizer/character_map.h"

using namespace qllama;

namespace {

// A map with room for `blocks` blocks of 256 units, in which nothing but the root is reachable.
struct Map {
    explicit Map(std::size_t blocks) : units(blocks * 256, 0x80000000U) { link(0, 0, 0, false); }

    // The unit at `position`: reached by `label`, its children around `base`, with a value or not.
    void link(std::uint32_t position, std::uint32_t label, std::uint32_t base, bool hasValue) {
        units[position] = label | (hasValue ? 0x100U : 0U) | (position ^ base) << 10;
    }
    void value(std::uint32_t base, std::uint32_t offset) { units[base] = 0x80000000U | offset; }

    [[nodiscard]] std::vector<std::byte> bytes() const {
        std::vector<std::byte> result;
        const auto add = [&](std::uint32_t number) {
            for (int shift = 0; shift < 32; shift += 8)
                result.push_back(static_cast<std::byte>(number >> shift));
        };
        add(static_cast<std::uint32_t>(units.size() * 4) + sizeError);
        for (const std::uint32_t unit : units)
            add(unit);
        for (const char byte : strings)
            result.push_back(static_cast<std::byte>(byte));
        return result;
    }

    std::vector<std::uint32_t> units;
    std::string strings = std::string("fi\0ff\0", 6);
    std::uint32_t sizeError = 0;
};

// The text "a" has a value in it: the root leads by 'a' to base 256, where the value hangs.
Map oneMatch() {
    Map map(2);
    map.link('a', 'a', 256, true);
    map.value(256, 3);
    return map;
}

// A walk by "aaa..." with so many matches: the bases are 256, 512, ...
Map chainOfMatches(std::uint32_t matches) {
    Map map(matches + 1);
    for (std::uint32_t step = 0; step < matches; ++step) {
        map.link(step * 256 + 'a', 'a', (step + 1) * 256, true);
        map.value((step + 1) * 256, 0);
    }
    return map;
}

}  // namespace

class TestCharacterMap : public QObject {
    Q_OBJECT

private slots:
    void soundMaps();
    void farOffsetsAreFollowed();
    void sizesMustAgree();
    void stringsMustEnd();
    void valuesMustLieInTheStrings();
    void childrenMustLieInTheTrie();
    void matchesAreLimited();
    void circlesEnd();
    void unreachableUnitsDoNotMatter();
    void everyByteOfARealTrieMayBeAnything();
};

void TestCharacterMap::soundMaps() {
    QVERIFY(isSoundCharacterMap({}));
    QVERIFY(isSoundCharacterMap(Map(1).bytes()));
    QVERIFY(isSoundCharacterMap(oneMatch().bytes()));
}

// Bit 9 multiplies an offset by 256.
void TestCharacterMap::farOffsetsAreFollowed() {
    for (const std::uint32_t blocks : {5U, 4U}) {
        Map map(blocks);
        map.units['a'] = 'a' | 0x200U | 4U << 10;  // to base 'a' ^ 1024, in the fifth block
        QCOMPARE(isSoundCharacterMap(map.bytes()), blocks == 5);
    }
}

void TestCharacterMap::sizesMustAgree() {
    const std::vector<std::byte> whole = oneMatch().bytes();
    for (std::size_t length = 1; length < whole.size(); ++length) {
        QVERIFY(!isSoundCharacterMap(std::span(whole).first(length)));
    }
    for (const std::uint32_t error : {1U, 2U, 4U, 8U, 1000U, 0x80000000U, 0xFFFFFFFCU}) {
        Map map = oneMatch();
        map.sizeError = error;
        QVERIFY(!isSoundCharacterMap(map.bytes()));
    }
    Map empty(1);
    empty.units.clear();
    QVERIFY(!isSoundCharacterMap(empty.bytes()));
}

void TestCharacterMap::stringsMustEnd() {
    Map map = oneMatch();
    map.strings.pop_back();
    QVERIFY(!isSoundCharacterMap(map.bytes()));
    map.strings.clear();
    QVERIFY(!isSoundCharacterMap(map.bytes()));
}

void TestCharacterMap::valuesMustLieInTheStrings() {
    Map map = oneMatch();
    map.value(256, 5);
    QVERIFY(isSoundCharacterMap(map.bytes()));
    for (const std::uint32_t offset : {6U, 7U, 0x7FFFFFFFU}) {
        map.value(256, offset);
        QVERIFY(!isSoundCharacterMap(map.bytes()));
    }
}

void TestCharacterMap::childrenMustLieInTheTrie() {
    for (const std::uint32_t base : {512U, 1024U, 0x1FFFFFU}) {
        Map map = oneMatch();
        map.link('b', 'b', base, false);
        QVERIFY(!isSoundCharacterMap(map.bytes()));
    }
    Map rootless = oneMatch();
    rootless.link(0, 0, 512, false);
    QVERIFY(!isSoundCharacterMap(rootless.bytes()));
}

// The library has room for 32 matches on one walk.
void TestCharacterMap::matchesAreLimited() {
    QVERIFY(isSoundCharacterMap(chainOfMatches(32).bytes()));
    QVERIFY(!isSoundCharacterMap(chainOfMatches(33).bytes()));
}

void TestCharacterMap::circlesEnd() {
    Map silent(2);
    silent.link('a', 'a', 256, false);
    silent.link(256 + 'b', 'b', 0, false);
    QVERIFY(isSoundCharacterMap(silent.bytes()));  // walks end with the text
    Map matching = silent;
    matching.link(256 + 'b', 'b', 0, true);
    matching.units[0] = 0;  // read as a value too: offset 0
    QVERIFY(!isSoundCharacterMap(matching.bytes()));
}

void TestCharacterMap::unreachableUnitsDoNotMatter() {
    Map map = oneMatch();
    map.units[256 + 'z'] = 'y' | 0x1FFFFFU << 10;  // no walk gets here: the label is not its place
    QVERIFY(isSoundCharacterMap(map.bytes()));
}

// No pattern may lead the check itself astray (run under AddressSanitizer).
void TestCharacterMap::everyByteOfARealTrieMayBeAnything() {
    const std::vector<std::byte> whole = chainOfMatches(1).bytes();
    for (std::size_t place = 0; place < whole.size(); ++place)
        for (const int change : {0x01, 0x80, 0xFF}) {
            std::vector<std::byte> bytes = whole;
            bytes[place] ^= static_cast<std::byte>(change);
            static_cast<void>(isSoundCharacterMap(bytes));
        }
    QVERIFY(isSoundCharacterMap(whole));
}

QTEST_GUILESS_MAIN(TestCharacterMap)
#include "test_character_map.moc"
