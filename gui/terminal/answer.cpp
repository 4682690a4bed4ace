#include "gui/terminal/answer.h"

#include "gui/terminal/exit_code.h"
#include "gui/terminal/interrupt_watcher.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/output.h"

namespace qllama {
namespace {

int print(bool json, StandardOutput& output, const Result<std::string>& answer) {
    if (!answer) {
        const std::string message = answer.error().text();
        if (json) output.write(jsonErrorLine(message));
        printError(message);
        return kExitFailed;
    }
    output.write(answer.value());
    if (output.problem().empty()) return kExitDone;
    printError(output.problem());
    return kExitFailed;
}

}  // namespace

int printAnswer(bool json, const Result<std::string>& answer) {
    StandardOutput output{std::stop_source()};
    return print(json, output, answer);
}

int printAnswerOf(bool json, const std::function<Result<std::string>(std::stop_token)>& work) {
    std::stop_source stop;
    StandardOutput output(stop);
    const InterruptWatcher watcher(stop);
    return print(json, output, work(stop.get_token()));
}

}  // namespace qllama
