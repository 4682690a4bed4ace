#include "gui/window/token_tip.h"

#include <QCoreApplication>
#include <QLocale>
#include <cstddef>

#include "gui/window/text.h"

namespace qllama {
namespace {

QString percent(double probability) {
    return QLocale().toString(probability * 100, 'f', probability < 0.001 ? 3 : 1) +
           QStringLiteral(" %");
}

QString row(const QString& token, double probability, bool chosen) {
    const QString line = QStringLiteral("<tr><td>%1</td><td align=right>&nbsp;&nbsp;%2</td></tr>")
                             .arg(token.toHtmlEscaped(), percent(probability));
    return chosen ? QString(line)
                        .replace(QStringLiteral("<td"), QStringLiteral("<th"))
                        .replace(QStringLiteral("</td"), QStringLiteral("</th"))
                        .replace(QStringLiteral("<th>"), QStringLiteral("<th align=left>"))
                  : line;
}

}  // namespace

QString visibleToken(const std::string& text) {
    QString visible = QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
    visible.replace(u'\n', u'↵').replace(u'\r', u'←').replace(u'\t', u'⇥');
    if (visible.isEmpty())
        return QCoreApplication::translate("TokenTip", "(no text)", "a token that shows nothing");
    return u'“' + visible + u'”';
}

QString tokenTipHtml(const TokenChunk& chunk) {
    QString rows;
    bool chosenListed = false;
    for (std::size_t rank = 0; rank < chunk.candidates.size(); ++rank) {
        const Candidate& candidate = chunk.candidates[rank];
        const bool chosen = candidate.token == chunk.token;
        const std::string text =
            rank < chunk.candidateTexts.size() ? chunk.candidateTexts[rank] : std::string();
        rows += row(visibleToken(text), candidate.probability, chosen);
        chosenListed = chosenListed || chosen;
    }
    if (!chosenListed) rows.prepend(row(visibleToken(chunk.text), chunk.probability, true));
    const QString footer =
        QCoreApplication::translate("TokenTip", "token %1, %2 ms")
            .arg(QString::number(chunk.token), QLocale().toString(chunk.ms, 'f', 2));
    return QStringLiteral("<table cellspacing=0>%1</table><small>%2</small>").arg(rows, footer);
}

}  // namespace qllama
