#include "gui/window/theme.h"

#include <QApplication>
#include <algorithm>
#include <cmath>

namespace qllama {
namespace {

constexpr double kReadableContrast = 4.5;  // WCAG 2.1, success criterion 1.4.3
constexpr double kFieldEdgeShare = 0.6;    // of the base: 3:1 on it in the dark theme, 1.4.11

double linear(double channel) {
    return channel <= 0.04045 ? channel / 12.92 : std::pow((channel + 0.055) / 1.055, 2.4);
}

// The relative luminance of sRGB, WCAG 2.1.
double luminance(const QColor& color) {
    return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) +
           0.0722 * linear(color.blueF());
}

QColor mixed(const QColor& first, const QColor& second, double share) {
    const auto mix = [share](float a, float b) { return static_cast<float>(a + (b - a) * share); };
    return QColor::fromRgbF(mix(first.redF(), second.redF()), mix(first.greenF(), second.greenF()),
                            mix(first.blueF(), second.blueF()));
}

struct Shades {
    QColor window, base, alternate, button, text, dimmed, accent, accentText, tooltip;
};

const Shades kLight{.window = QColor(0xf4f4f6),
                    .base = QColor(0xffffff),
                    .alternate = QColor(0xf0f0f4),
                    .button = QColor(0xfbfbfc),
                    .text = QColor(0x1f2026),
                    .dimmed = QColor(0x9a9ca6),
                    .accent = QColor(0x4b50c8),
                    .accentText = QColor(0xffffff),
                    .tooltip = QColor(0xfffffa)};
const Shades kDark{.window = QColor(0x24252b),
                   .base = QColor(0x1a1b20),
                   .alternate = QColor(0x212228),
                   .button = QColor(0x33353d),
                   .text = QColor(0xe9e9ee),
                   .dimmed = QColor(0x767884),
                   .accent = QColor(0x7b80f0),
                   .accentText = QColor(0x101116),
                   .tooltip = QColor(0x30323a)};

QPalette paletteOf(const Shades& shades) {
    QPalette palette(shades.text, shades.button, shades.button.lighter(115),
                     shades.button.darker(160), shades.button.darker(125), shades.text, shades.text,
                     shades.base, shades.window);
    palette.setColor(QPalette::AlternateBase, shades.alternate);
    palette.setColor(QPalette::Highlight, shades.accent);
    palette.setColor(QPalette::HighlightedText, shades.accentText);
    palette.setColor(QPalette::Link, shades.accent);
    palette.setColor(QPalette::LinkVisited, shades.accent);
    palette.setColor(QPalette::ToolTipBase, shades.tooltip);
    palette.setColor(QPalette::ToolTipText, shades.text);
    palette.setColor(QPalette::PlaceholderText, mixed(shades.text, shades.base, 0.45));
    for (const auto role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText})
        palette.setColor(QPalette::Disabled, role, shades.dimmed);
    palette.setColor(QPalette::Disabled, QPalette::Base, shades.window);
    palette.setColor(QPalette::Disabled, QPalette::Highlight, shades.dimmed);
    return palette;
}

}  // namespace

QString keyOf(Theme theme) {
    switch (theme) {
        case Theme::Light:
            return QStringLiteral("light");
        case Theme::Dark:
            return QStringLiteral("dark");
        case Theme::System:
            break;
    }
    return QStringLiteral("system");
}

Theme themeFromKey(const QString& key) {
    for (const Theme theme : {Theme::Light, Theme::Dark})
        if (keyOf(theme) == key) return theme;
    return Theme::System;
}

void applyTheme(Theme theme) {
    switch (theme) {
        case Theme::System:
            QApplication::setPalette(QPalette());
            break;
        case Theme::Light:
            QApplication::setPalette(paletteOf(kLight));
            break;
        case Theme::Dark:
            QApplication::setPalette(paletteOf(kDark));
            break;
    }
}

bool isDark(const QPalette& palette) {
    return palette.color(QPalette::Base).lightnessF() < palette.color(QPalette::Text).lightnessF();
}

double contrastRatio(const QColor& first, const QColor& second) {
    const double one = luminance(first);
    const double other = luminance(second);
    return (std::max(one, other) + 0.05) / (std::min(one, other) + 0.05);
}

QColor readableOn(const QColor& background, const QColor& wanted) {
    const bool lighten = luminance(background) < 0.18;  // about where white and black read alike
    const QColor end = lighten ? Qt::white : Qt::black;
    for (double share = 0; share < 1; share += 0.02) {
        const QColor color = mixed(wanted, end, share);
        if (contrastRatio(color, background) >= kReadableContrast) return color;
    }
    return end;
}

int tokenShade(double probability) {
    const double p = std::clamp(std::isnan(probability) ? 0.0 : probability, 0.0, 1.0);
    return static_cast<int>(std::lround(p * (kTokenShades - 1)));
}

QColor tokenColor(double probability, const QPalette& palette) {
    const double p = static_cast<double>(tokenShade(probability)) / (kTokenShades - 1);
    const QColor rllama(128 + static_cast<int>(127 * p), 255 - static_cast<int>(127 * p), 128);
    return readableOn(palette.color(QPalette::Base), rllama);
}

QColor promptColor(const QPalette& palette) {
    return readableOn(palette.color(QPalette::Base), QColor(128, 128, 255));
}

QColor dimmedTextColor(const QPalette& palette) {
    return readableOn(palette.color(QPalette::Base),
                      mixed(palette.color(QPalette::Text), palette.color(QPalette::Base), 0.4));
}

QColor fieldEdgeColor(const QPalette& palette) {
    return mixed(palette.color(QPalette::Text), palette.color(QPalette::Base), kFieldEdgeShare);
}

}  // namespace qllama
