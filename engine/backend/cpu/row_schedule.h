// Who computes which rows of a product: threads take portions until none is left. Private to
// backend/cpu.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace qllama::cpu {

struct RowRange {
    std::int64_t begin = 0;
    std::int64_t end = 0;
};

// Each portion is a part of what is left (guided self-scheduling, Polychronopoulos and Kuck 1987): the
// first ones are long streams through memory, and with the small last ones all threads are done at
// nearly the same time, whatever held one of them up.
class RowSchedule {
public:
    // Portions are of whole granules but for the last one, and not of more than `most` rows, which
    // must be a multiple of the granularity.
    RowSchedule(std::int64_t rows, int threads, std::int64_t granularity, std::int64_t most)
        : m_rows(rows), m_threads(threads), m_granularity(granularity), m_most(most) {}

    // The next portion; empty when there is none. From any thread.
    RowRange take() {
        std::int64_t begin = m_next.load(std::memory_order_relaxed);
        std::int64_t end = 0;
        do {
            if (begin >= m_rows) return {m_rows, m_rows};
            end = std::min(m_rows, begin + portionOf(m_rows - begin));
        } while (!m_next.compare_exchange_weak(begin, end, std::memory_order_relaxed));
        return {begin, end};
    }

private:
    [[nodiscard]] std::int64_t portionOf(std::int64_t left) const {
        const std::int64_t granules = left / (kParts * m_threads * m_granularity);
        return std::min(m_most, std::max(granules, kLeast) * m_granularity);
    }

    static constexpr std::int64_t kParts = 2;  // of a thread's share of what is left
    static constexpr std::int64_t kLeast = 2;  // granules

    const std::int64_t m_rows;
    const int m_threads;
    const std::int64_t m_granularity;
    const std::int64_t m_most;
    std::atomic<std::int64_t> m_next{0};
};

}  // namespace qllama::cpu
