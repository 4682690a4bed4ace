// The weights that are kept on disk: made by loading through the window, listed and deleted in their
// dialog.
#include <QComboBox>
#include <QDialog>
#include <QLocale>
#include <QMessageBox>
#include <QPushButton>
#include <QSignalSpy>
#include <QTreeWidget>
#include <fstream>

#include "engine/quant/weight_cache.h"
#include "gui/window/application.h"
#include "gui/window/session_engine.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

class TestKeptWeights : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_fixture = std::make_unique<WindowFixture>(); }
    void cleanup() { m_fixture.reset(); }

    void areListedAndDeleted() {
        loadQuantised();
        const auto kept = listWeightCache(folder());
        QVERIFY(kept.ok());
        QCOMPARE(kept.value().size(), 1U);
        openDialog();
        QTRY_COMPARE(list()->topLevelItemCount(), 1);
        QCOMPARE(list()->topLevelItem(0)->text(0), "demo-model");
        QCOMPARE(list()->topLevelItem(0)->text(1), "q4");
        const QString size = QLocale().formattedDataSize(kept.value().front().sizeBytes);
        QCOMPARE(list()->topLevelItem(0)->text(2), size);
        QVERIFY(m_fixture->label("keptWeightsTotal").startsWith(size));
        QCOMPARE(m_fixture->label("keptWeightsFolder"), QString::fromStdString(folder().string()));

        QVERIFY(!quantisesWhenLoadedAgain());
        QVERIFY(answerQuestion(""));
        QVERIFY(std::filesystem::exists(kept.value().front().path));
        QVERIFY(answerQuestion("clearConfirmed"));
        QTRY_COMPARE(list()->topLevelItemCount(), 0);
        QVERIFY(!std::filesystem::exists(kept.value().front().path));
        QVERIFY(!clearButton()->isEnabled());
        QCOMPARE(m_fixture->label("keptWeightsTotal"), "Nothing is kept at the moment.");
        // The model that is loaded from them stays usable.
        m_fixture->click("generateButton");
        QVERIFY(m_fixture->becomesIdle());
        QVERIFY(m_fixture->label("statusTokens").endsWith("tokens"));
        QVERIFY(quantisesWhenLoadedAgain());
        QTRY_COMPARE(list()->topLevelItemCount(), 1);
    }

    void theListFollowsALoad() {
        m_fixture->open(std::make_unique<SessionEngine>());
        openDialog();
        QTRY_COMPARE(m_fixture->label("keptWeightsTotal"), "Nothing is kept at the moment.");
        QVERIFY(!clearButton()->isEnabled());
        m_fixture->answer = demoModel();
        m_fixture->find<QComboBox>("precision")
            ->setCurrentIndex(
                m_fixture->find<QComboBox>("precision")->findData(static_cast<int>(Precision::Q8)));
        m_fixture->action("Open Model Folder…")->trigger();
        QVERIFY(m_fixture->becomesIdle());
        QTRY_COMPARE(list()->topLevelItemCount(), 1);
        QCOMPARE(list()->topLevelItem(0)->text(1), "q8");
    }

    void aDamagedFileIsListedAsSuch() {
        std::filesystem::create_directories(folder());
        std::ofstream(folder() / "0123.qweights") << "not weights";
        m_fixture->open(std::make_unique<SessionEngine>());
        openDialog();
        QTRY_COMPARE(list()->topLevelItemCount(), 1);
        QCOMPARE(list()->topLevelItem(0)->text(0), "unfinished or damaged");
        QVERIFY(answerQuestion("clearConfirmed"));
        QTRY_COMPARE(list()->topLevelItemCount(), 0);
    }

    void whatCannotBeListedIsExplained() {
        std::ofstream(folder()) << "a file where the folder should be";
        m_fixture->open(std::make_unique<SessionEngine>());
        openDialog();
        QTRY_VERIFY(m_fixture->label("keptWeightsTotal").contains("Cannot list the folder"));
        QVERIFY(!clearButton()->isEnabled());
    }

private:
    static QString demoModel() { return QStringLiteral(QLLAMA_RESOURCE_DIR "/demo-model"); }
    [[nodiscard]] std::filesystem::path folder() const {
        return m_fixture->folder.filePath("weights").toStdString();
    }
    void loadQuantised() {
        WindowStart start;
        start.load.emplace();
        start.load->location.model = demoModel().toStdString();
        start.load->precision = Precision::Q4;
        m_fixture->open(std::make_unique<SessionEngine>(), start);
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->label("statusModel"), "demo-model (q4)");
    }
    void openDialog() {
        m_fixture->action("Kept Weights…")->trigger();
        QVERIFY(m_fixture->find<QDialog>("weightCacheDialog")->isVisible());
    }
    [[nodiscard]] QTreeWidget* list() const { return m_fixture->find<QTreeWidget>("keptWeights"); }
    [[nodiscard]] QPushButton* clearButton() const {
        return m_fixture->find<QPushButton>("clearKeptWeights");
    }
    bool quantisesWhenLoadedAgain() {
        QSignalSpy progress(&m_fixture->window->engine(), &EngineController::loadProgress);
        m_fixture->action("Load Again")->trigger();
        return m_fixture->becomesIdle() && !progress.isEmpty() &&
               progress.last().at(1).value<LoadProgress>().work == LoadWork::Quantising;
    }
    // By the button of this name; empty: by Cancel.
    bool answerQuestion(const QString& button) {
        if (!QTest::qWaitFor([this] { return clearButton()->isEnabled(); })) return false;
        clearButton()->click();
        auto* question = m_fixture->find<QMessageBox>("clearQuestion");
        if (!question || !question->isVisible()) return false;
        auto* pressed = button == u"clearConfirmed" ? question->findChild<QAbstractButton*>(button)
                                                    : question->button(QMessageBox::Cancel);
        pressed->click();
        return QTest::qWaitFor([this] { return !m_fixture->find<QMessageBox>("clearQuestion"); });
    }

    std::unique_ptr<WindowFixture> m_fixture;
};

QTEST_MAIN(TestKeptWeights)
#include "test_kept_weights.moc"
