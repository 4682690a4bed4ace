// Light and dark: the palettes to choose from and colours that stay readable on either.
#pragma once

#include <QColor>
#include <QPalette>
#include <QString>

namespace qllama {

enum class Theme { System, Light, Dark };

// "system", "light", "dark": the form in the settings.
QString keyOf(Theme theme);
Theme themeFromKey(const QString& key);

// Changes the application's palette. System is what the desktop says.
void applyTheme(Theme theme);

bool isDark(const QPalette& palette);

// The contrast ratio of WCAG 2.1, from 1 to 21.
double contrastRatio(const QColor& first, const QColor& second);

// `wanted` made lighter or darker, its hue kept, until it can be read on `background` as text
// (a contrast of 4.5, WCAG 2.1 level AA).
QColor readableOn(const QColor& background, const QColor& wanted);

// rllama's colours, made readable on the palette's text background: a token by the model's
// probability for it (green: it surprised, red: it was sure), and the prompt.
QColor tokenColor(double probability, const QPalette& palette);
QColor promptColor(const QPalette& palette);
// So many colours of tokens there are, enough to look continuous and few enough for a table; and the
// number of a probability's, from 0.
constexpr int kTokenShades = 33;
int tokenShade(double probability);

// Text that matters less than the text around it.
QColor dimmedTextColor(const QPalette& palette);
// The edge of a field to write in, where the style's own cannot be seen.
QColor fieldEdgeColor(const QPalette& palette);

}  // namespace qllama
