// One-coloured icons that take the colour of the text around them, sharp at every scale.
#pragma once

#include <QIcon>
#include <QPalette>
#include <QString>

namespace qllama {

// `name` of an .svg in resources/icons whose shapes are black; drawn in the application palette's
// colour of the moment, so that it follows a change between light and dark.
QIcon symbolicIcon(const QString& name, QPalette::ColorRole role = QPalette::ButtonText);

// The program's own icon.
QIcon applicationIcon();

}  // namespace qllama
