#include "engine/checkpoint/quazip_writer.h"

#include <fcntl.h>
#include <quazip/quazip.h>
#include <quazip/zip.h>
#include <unistd.h>

#include <QIODevice>
#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/common/block_writer.h"

namespace qllama {
namespace {

constexpr std::uint64_t kAlignment = 64;           // torch's, since 1.4
constexpr std::uint64_t kLocalHeaderBytes = 30;    // without the name and the extra fields
constexpr std::uint64_t kZip64ExtraBytes = 20;     // QuaZip puts this one after ours
constexpr std::uint64_t kExtraHeaderBytes = 4;     // of an extra field: its kind and its length
constexpr std::uint64_t kZip64From = 0xFFFF'FFFF;  // sizes from here on do not fit the old fields
constexpr std::size_t kWriteStep = 1U << 30;       // QuaZip counts in unsigned int

// A new file that QuaZip writes to. The library goes back to a member's header when it ends the
// member; everything else arrives in order.
class FileDevice final : public QIODevice {
public:
    explicit FileDevice(int descriptor) : m_descriptor(descriptor), m_writer(descriptor) {}
    ~FileDevice() override { ::close(m_descriptor); }

    [[nodiscard]] qint64 size() const override { return static_cast<qint64>(m_writer.position()); }
    bool flush() { return m_writer.flush(); }
    [[nodiscard]] int errorNumber() const { return m_writer.errorNumber(); }

protected:
    qint64 readData(char*, qint64) override { return -1; }
    qint64 writeData(const char* data, qint64 count) override {
        auto bytes = std::as_bytes(std::span(data, static_cast<std::size_t>(count)));
        const auto offset = static_cast<std::uint64_t>(pos());
        assert(offset <= m_writer.position());
        const auto known =
            bytes.first(std::min<std::size_t>(bytes.size(), m_writer.position() - offset));
        if (!m_writer.overwrite(offset, known)) return -1;
        return m_writer.append(bytes.subspan(known.size())) ? count : -1;
    }

private:
    int m_descriptor;
    BlockWriter m_writer;
};

// An extra field of kind "FB" filled with 'Z', as torch pads; readers skip kinds they do not know.
std::string padding(std::uint64_t position) {
    const std::uint64_t unpadded = position + kExtraHeaderBytes;
    const std::uint64_t length = (kAlignment - unpadded % kAlignment) % kAlignment;
    std::string field = "FB";
    field += static_cast<char>(length & 0xFF);
    field += static_cast<char>(length >> 8);
    return field + std::string(length, 'Z');
}

}  // namespace

struct ZipWriter::Impl {
    explicit Impl(std::filesystem::path filePath, int descriptor)
        : path(std::move(filePath)), device(descriptor), zip(&device) {
        device.open(QIODevice::WriteOnly | QIODevice::Unbuffered);
    }

    [[nodiscard]] Error failure() const {
        const int number = device.errorNumber();
        return {ErrorCode::Io,
                std::string("Cannot write the file: ") +
                    (number != 0 ? std::strerror(number) : "the zip library failed") + ".",
                path.string()};
    }

    Result<void> endMember() {
        if (!inMember) return {};
        assert(remaining == 0);
        inMember = false;
        if (zipCloseFileInZip(zip.getZipFile()) != ZIP_OK) return failure();
        return {};
    }

    std::filesystem::path path;
    FileDevice device;
    QuaZip zip;
    bool inMember = false;
    std::uint64_t remaining = 0;  // bytes of the member still to come
};

ZipWriter::ZipWriter(std::unique_ptr<Impl> impl) : m_impl(std::move(impl)) {}

ZipWriter::~ZipWriter() {
    if (m_impl->zip.isOpen()) m_impl->zip.close();
}

Result<std::unique_ptr<ZipWriter>> ZipWriter::create(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return Error{ErrorCode::Io,
                     std::string("Cannot create the file: ") + std::strerror(errno) + ".",
                     path.string()};
    auto impl = std::make_unique<Impl>(path, descriptor);
    if (!impl->zip.open(QuaZip::mdCreate)) return impl->failure();
    return std::unique_ptr<ZipWriter>(new ZipWriter(std::move(impl)));
}

Result<void> ZipWriter::beginMember(const std::string& name, std::uint64_t sizeBytes) {
    QLLAMA_CHECK(m_impl->endMember());
    const bool zip64 = sizeBytes >= kZip64From;
    const std::string extra =
        padding(static_cast<std::uint64_t>(m_impl->device.pos()) + kLocalHeaderBytes + name.size() +
                (zip64 ? kZip64ExtraBytes : 0));
    const int status = zipOpenNewFileInZip64(m_impl->zip.getZipFile(), name.c_str(), nullptr,
                                             extra.data(), static_cast<uInt>(extra.size()), nullptr,
                                             0, nullptr, 0, 0, zip64 ? 1 : 0);
    if (status != ZIP_OK) return m_impl->failure();
    m_impl->inMember = true;
    m_impl->remaining = sizeBytes;
    return {};
}

Result<void> ZipWriter::write(std::span<const std::byte> bytes) {
    assert(m_impl->inMember && bytes.size() <= m_impl->remaining);
    m_impl->remaining -= bytes.size();
    while (!bytes.empty()) {
        const auto step = bytes.first(std::min(bytes.size(), kWriteStep));
        if (zipWriteInFileInZip(m_impl->zip.getZipFile(), step.data(),
                                static_cast<unsigned>(step.size())) != ZIP_OK)
            return m_impl->failure();
        bytes = bytes.subspan(step.size());
    }
    return {};
}

Result<void> ZipWriter::finish() {
    QLLAMA_CHECK(m_impl->endMember());
    m_impl->zip.close();
    if (m_impl->zip.getZipError() != ZIP_OK || !m_impl->device.flush() ||
        m_impl->device.errorNumber() != 0)
        return m_impl->failure();
    return {};
}

}  // namespace qllama
