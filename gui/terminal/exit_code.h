// The exit codes that --help promises.
#pragma once

namespace qllama {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

}  // namespace qllama
