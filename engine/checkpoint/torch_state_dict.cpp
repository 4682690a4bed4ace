#include "engine/checkpoint/torch_state_dict.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <unordered_set>

#include "engine/checkpoint/printable.h"
#include "engine/checkpoint/torch_tensor.h"

namespace qllama {
namespace {

constexpr int kMaxNesting = 8;
constexpr std::size_t kMaxCandidates = 10'000;

// Longer than any module path. One text of many megabytes could otherwise be the name of a million
// entries, and cost that much each time it is looked at.
constexpr std::size_t kMaxName = 1024;

// What training wrappers put in front of every name.
constexpr std::string_view kPrefixes[] = {"module.", "_orig_mod.", "model."};

// Keys under which training programs keep the weights, the likeliest last.
constexpr std::string_view kUsualKeys[] = {"weights", "module", "model_state_dict", "state_dict",
                                           "model"};

struct Entry {
    std::string_view key;
    PickleId value = kNoPickle;
};

// One dictionary that holds tensors of its own.
struct Candidate {
    std::string path = {};  // "model", empty for the outermost
    std::vector<Entry> entries = {};
    std::int64_t tensorCount = 0;
    bool hasEmbeddings = false;  // then it is a LLaMA in Meta's layout
    int keyRank = 0;
};

std::string_view withoutPrefixes(std::string_view name) {
    for (bool again = true; again;) {
        again = false;
        for (const std::string_view prefix : kPrefixes) {
            if (!name.starts_with(prefix)) continue;
            name.remove_prefix(prefix.size());
            again = true;
        }
    }
    return name;
}

int rankOfKey(std::string_view key) {
    int rank = 0;
    for (const std::string_view usual : kUsualKeys) {
        ++rank;
        if (key == usual) return rank;
    }
    return 0;
}

class Finder {
public:
    explicit Finder(const PickleDocument& document) : m_document(document) {}

    void visit(PickleId id, const std::string& path, std::string_view key, int depth);
    // At most kMaxCandidates; then there may be more.
    [[nodiscard]] std::vector<Candidate>& candidates() { return m_candidates; }

private:
    [[nodiscard]] bool isMapping(PickleId id) const;
    [[nodiscard]] std::vector<Entry> entriesOf(PickleId id);
    void addPairs(const std::vector<PickleId>& items, std::size_t first,
                  std::vector<Entry>& entries) const;

    const PickleDocument& m_document;
    // Dictionaries, and lists of their entries, may be shared or contain themselves: each is walked
    // once, so the work is bounded by the size of the pickle.
    std::unordered_set<PickleId> m_visited;
    std::vector<Candidate> m_candidates;
};

bool Finder::isMapping(PickleId id) const {
    const PickleNode& node = m_document.at(id);
    if (node.kind == PickleKind::Dict) return true;
    if (node.kind != PickleKind::Call) return false;
    const TorchGlobal* global = torchGlobalOf(m_document, id);
    return global != nullptr && global->role == TorchRole::Mapping;
}

void Finder::addPairs(const std::vector<PickleId>& items, std::size_t first,
                      std::vector<Entry>& entries) const {
    for (std::size_t index = first; index + 1 < items.size(); index += 2) {
        const PickleNode& key = m_document.at(items[index]);
        if (key.kind == PickleKind::Text) entries.push_back({key.text, items[index + 1]});
    }
}

// A Call has its entries after the callable and the arguments; Python 2 gave an OrderedDict a list
// of [key, value] lists as its argument instead.
std::vector<Entry> Finder::entriesOf(PickleId id) {
    const PickleNode& node = m_document.at(id);
    std::vector<Entry> entries;
    if (node.kind == PickleKind::Dict) {
        addPairs(node.items, 0, entries);
        return entries;
    }
    for (const PickleId argument : m_document.at(node.items[1]).items) {
        if (m_document.at(argument).kind != PickleKind::List) continue;
        if (!m_visited.insert(argument).second) continue;
        for (const PickleId item : m_document.at(argument).items) {
            const PickleNode& pair = m_document.at(item);
            const bool isSequence = pair.kind == PickleKind::List || pair.kind == PickleKind::Tuple;
            if (isSequence && pair.items.size() == 2) addPairs(pair.items, 0, entries);
        }
    }
    addPairs(node.items, 2, entries);
    return entries;
}

void Finder::visit(PickleId id, const std::string& path, std::string_view key, int depth) {
    if (depth > kMaxNesting || m_candidates.size() >= kMaxCandidates) return;
    if (!isMapping(id) || !m_visited.insert(id).second) return;
    Candidate candidate{.path = path, .entries = entriesOf(id), .keyRank = rankOfKey(key)};
    for (const Entry& entry : candidate.entries) {
        if (makesTensor(m_document, entry.value)) {
            ++candidate.tensorCount;
            candidate.hasEmbeddings |= entry.key.size() <= kMaxName &&
                                       withoutPrefixes(entry.key) == "tok_embeddings.weight";
        } else {
            visit(entry.value, path + (path.empty() ? "" : ".") + printable(entry.key), entry.key,
                  depth + 1);
        }
    }
    if (candidate.tensorCount > 0) m_candidates.push_back(std::move(candidate));
}

void noteWhatIsLeftOut(const Candidate& chosen, const std::vector<Candidate>& all,
                       const PickleDocument& document, std::vector<std::string>& notes) {
    if (!chosen.path.empty())
        notes.push_back("The weights were found under \"" + chosen.path + "\" in the file.");
    NameList others;
    for (const Candidate& candidate : all)
        if (&candidate != &chosen)
            others.add(candidate.path.empty() ? "the outermost tensors" : candidate.path);
    if (others.count() > 0) notes.push_back("Other tensors were left out: " + others.text() + ".");
    NameList plain;
    for (const Entry& entry : chosen.entries)
        if (!makesTensor(document, entry.value)) plain.add(entry.key);
    if (plain.count() > 0)
        notes.push_back("Entries that are not tensors were ignored: " + plain.text() + ".");
}

Result<StateDict> tensorsOf(const Candidate& chosen, const PickleDocument& document,
                            const StorageSource& source, const std::string& label) {
    StateDict dict;
    std::map<std::string, std::string_view> originals;
    std::map<std::string, NameList> leftOut;  // by the reason
    for (const Entry& entry : chosen.entries) {
        if (!makesTensor(document, entry.value)) continue;
        const bool isShort = entry.key.size() <= kMaxName;
        const std::string name(isShort ? withoutPrefixes(entry.key) : std::string_view());
        if (name.empty() || !isValidUtf8(name))
            return Error{ErrorCode::InvalidFile,
                         "A tensor has the unusable name \"" + printable(entry.key) + "\".", label};
        const auto [original, isNew] = originals.emplace(name, entry.key);
        if (!isNew && original->second != entry.key)
            return Error{ErrorCode::InvalidFile,
                         "The tensors \"" + printable(original->second) + "\" and \"" +
                             printable(entry.key) + "\" both stand for \"" + printable(name) +
                             "\".",
                         label};
        QLLAMA_TRY(RebuiltTensor rebuilt,
                   rebuildTensor(document, entry.value, name, source, label));
        if (const auto* unreadable = std::get_if<UnreadableTensor>(&rebuilt)) {
            leftOut[unreadable->reason].add(name);
            continue;
        }
        dict.tensors.insert_or_assign(name, std::get<StoredTensor>(std::move(rebuilt)));
    }
    for (const auto& [reason, names] : leftOut)
        dict.notes.push_back(names.count() == 1
                                 ? "Tensor " + names.text() + " was left out: it " + reason + "."
                                 : "Tensors were left out: " + names.text() + ". Each " + reason +
                                       ".");
    return dict;
}

}  // namespace

Result<StateDict> readStateDict(const PickleDocument& document, const StorageSource& source,
                                const std::string& label) {
    Finder finder(document);
    finder.visit(document.root, "", "", 0);
    const std::vector<Candidate>& candidates = finder.candidates();
    if (candidates.size() >= kMaxCandidates)
        return Error{ErrorCode::InvalidFile,
                     "The file holds " + std::to_string(kMaxCandidates) +
                         " dictionaries of tensors or more; a checkpoint has no such number.",
                     label};
    if (candidates.empty())
        return Error{ErrorCode::InvalidFile,
                     "The file holds no dictionary of tensors, so it is not a model's checkpoint.",
                     label};
    const auto chosen = std::max_element(
        candidates.begin(), candidates.end(), [](const Candidate& left, const Candidate& right) {
            return std::tie(left.hasEmbeddings, left.keyRank, left.tensorCount) <
                   std::tie(right.hasEmbeddings, right.keyRank, right.tensorCount);
        });
    QLLAMA_TRY(StateDict dict, tensorsOf(*chosen, document, source, label));
    noteWhatIsLeftOut(*chosen, candidates, document, dict.notes);
    return dict;
}

Result<std::vector<StorageReference>> storagesOf(const PickleDocument& document,
                                                 const std::string& label) {
    std::vector<StorageReference> references;
    for (PickleId id = 0; id < document.nodes.size(); ++id) {
        if (document.at(id).kind != PickleKind::Persistent) continue;
        QLLAMA_TRY(StorageReference reference, readStorageReference(document, id, label));
        references.push_back(std::move(reference));
    }
    return references;
}

}  // namespace qllama
