#include "gui/terminal/make_model.h"

#include <unistd.h>

#include "engine/session/model_maker.h"
#include "gui/terminal/answer.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/output.h"
#include "gui/terminal/progress_line.h"
#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

Result<MadeModel> make(const CommandLine& commandLine, std::stop_token stop) {
    ModelMakerRequest request;
    QLLAMA_TRY(request.shape, parseModelShape(commandLine.makeShape));
    request.folder = commandLine.load.location.model;
    request.shardCount = commandLine.shardCount;
    request.tokenizer = commandLine.load.location.tokenizer;
    if (commandLine.load.precision == Precision::BF16) request.dtype = DType::BF16;
    request.seed = commandLine.generation.seed.value_or(request.seed);
    request.threadCount = commandLine.load.threadCount;
    ProgressLine line(!commandLine.quiet && !commandLine.json && isSmartTerminal(STDERR_FILENO));
    const std::string what = "Writing " + request.folder.string();
    return makeModel(
        request, [&](std::int64_t done, std::int64_t total) { line.show(what, done, total); },
        std::move(stop));
}

std::string jsonLine(const MadeModel& made, const std::string& path) {
    return JsonObject()
               .add("event", "made")
               .add("path", path)
               .add("parameters", made.parameterCount)
               .add("bytes", made.sizeBytes)
               .add("shards", made.shardCount)
               .add("vocabulary", made.vocabularySize)
               .add("ms", made.ms)
               .text() +
           "\n";
}

std::string plainLine(const MadeModel& made, const std::string& path) {
    return "Made " + withoutControls(path) + ": " + std::to_string(made.parameterCount) +
           " random weights, " + byteText(made.sizeBytes) + " in " +
           std::to_string(made.shardCount) + (made.shardCount == 1 ? " file.\n" : " files.\n");
}

}  // namespace

int runMakeModel(const CommandLine& commandLine) {
    return printAnswerOf(commandLine.json,
                         [&commandLine](std::stop_token stop) -> Result<std::string> {
                             QLLAMA_TRY(const MadeModel made, make(commandLine, std::move(stop)));
                             const std::string path = commandLine.load.location.model.string();
                             if (commandLine.json) return jsonLine(made, path);
                             return commandLine.quiet ? std::string() : plainLine(made, path);
                         });
}

}  // namespace qllama
