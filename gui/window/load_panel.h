// How a model is loaded: precision, threads, context length. They take effect with the next load.
#pragma once

#include <QWidget>

#include "engine/session/model_loader.h"

class QComboBox;
class QPushButton;
class QSpinBox;

namespace qllama {

// "As in the file": a precision as the panel calls it.
QString precisionLabel(Precision precision);

class LoadPanel : public QWidget {
    Q_OBJECT

public:
    explicit LoadPanel(QWidget* parent = nullptr);

    void writeTo(LoadRequest& request) const;
    void readFrom(const LoadRequest& request);

    // Of what this panel sets, nothing else.
    static bool haveSameSettings(const LoadRequest& left, const LoadRequest& right);
    static void copySettings(const LoadRequest& from, LoadRequest& to);

    // The settings of the model in use, or on its way, for telling whether there is anything to apply. Nullptr:
    // no model, but perhaps one that can be loaded with the settings.
    void setLoaded(const LoadRequest* request, bool mayLoad = false);

signals:
    void applyRequested();
    void changed();

private:
    void setupFields();
    void setupLayout();
    void updateApply();

    QComboBox* m_precision;
    QSpinBox* m_threads;
    QSpinBox* m_context;
    QPushButton* m_apply;
    std::optional<LoadRequest> m_loaded;
    bool m_mayLoad = false;
};

}  // namespace qllama
