// Qt 6's image plug-in for aei: with it Qt and KDE programs open and save .aei. install.sh beside it builds and installs it.
#include <aei.h>

#include <QColorSpace>
#include <QImage>
#include <QImageIOHandler>
#include <QImageIOPlugin>
#include <QtEndian>

#include <memory>

namespace {

constexpr qint64 largestFile = qint64(1) << 30; // as aei_decoder_new has it
const QByteArray signature("\x89" "AEI\r\n\x1a\n", 8);

struct Free {
    void operator()(AeiDecoder *decoder) const { aei_decoder_free(decoder); }
};
using Decoder = std::unique_ptr<AeiDecoder, Free>;

// By EXIF's numbers 1 to 8.
constexpr QImageIOHandler::Transformation turns[] = {
    QImageIOHandler::TransformationNone,          QImageIOHandler::TransformationMirror,   QImageIOHandler::TransformationRotate180,
    QImageIOHandler::TransformationFlip,          QImageIOHandler::TransformationFlipAndRotate90, QImageIOHandler::TransformationRotate90,
    QImageIOHandler::TransformationMirrorAndRotate90, QImageIOHandler::TransformationRotate270};

// Rows of 1, 2 or 3 samples a pixel become rows of 4 where they stand: Qt has no format for them.
template <typename Sample>
void spread(QImage &image, uint32_t channels) {
    for (int y = 0; y < image.height(); y++) {
        auto *row = reinterpret_cast<Sample *>(image.scanLine(y));
        for (int x = image.width(); x-- > 0;) {
            const Sample *from = row + qsizetype(x) * channels;
            const Sample first = from[0], second = from[channels > 2 ? 1 : 0], third = from[channels > 2 ? 2 : 0];
            const Sample alpha = channels == 2 ? from[1] : Sample(~Sample(0));
            Sample *to = row + qsizetype(x) * 4;
            to[0] = first;
            to[1] = second;
            to[2] = third;
            to[3] = alpha;
        }
    }
}

class Handler final : public QImageIOHandler {
public:
    static bool canRead(QIODevice *device) { return device && device->peek(signature.size()) == signature; }

    bool canRead() const override {
        if (m_state != State::Unread ? m_state != State::Open : !canRead(device())) return false;
        setFormat("aei");
        return true;
    }

    bool read(QImage *image) override {
        if (!open()) return false;
        Decoder preview;
        // Previews have no alpha.
        if (m_info.channels % 2 && m_scaled.isValid() && (m_scaled.width() < int(m_info.width) || m_scaled.height() < int(m_info.height))) preview = largeEnoughPreview();
        bool right = preview && decode(preview.get(), m_decoder.get(), false, image);
        // Of lossless files all bits; of others 8 are what there is.
        if (!right) right = decode(m_decoder.get(), m_decoder.get(), m_deep, image);
        m_state = State::Done;
        m_decoder.reset();
        if (right && m_scaled.isValid() && image->size() != m_scaled) *image = image->scaled(m_scaled, Qt::IgnoreAspectRatio, Qt::SmoothTransformation);
        return right;
    }

    bool write(const QImage &image) override {
        const bool gray = image.format() == QImage::Format_Grayscale8 || image.format() == QImage::Format_Grayscale16;
        const QImage samples = image.convertToFormat(image.hasAlphaChannel() ? QImage::Format_RGBA8888 : gray ? QImage::Format_Grayscale8 : QImage::Format_RGB888);
        if (samples.isNull()) return false;
        const QByteArray icc = gray ? QByteArray() : image.colorSpace().iccProfile();
        AeiEncodeOptions options;
        aei_encode_options_init(&options, sizeof options);
        if (m_quality >= 0) options.quality_index = (uint32_t(qMin(m_quality, 100)) * 63 + 50) / 100; // per cent, as of `aei encode -q`
        for (uint32_t n = 0; n < 8; n++)
            if (turns[n] == m_turn) options.orientation = n + 1;
        if (!icc.isEmpty()) {
            options.icc = reinterpret_cast<const uint8_t *>(icc.constData());
            options.icc_length = size_t(icc.size());
        }
        AeiImage source = {sizeof(AeiImage), const_cast<uchar *>(samples.constBits()) /* only read from */, size_t(samples.bytesPerLine()), uint32_t(samples.width()),
                           uint32_t(samples.height()), uint32_t(samples.depth() / 8), 8};
        AeiError error = {};
        error.size = sizeof error;
        uint8_t *file;
        size_t length;
        if (aei_encode(&source, &options, &file, &length, &error) != AEI_STATUS_OK) return failed(error);
        const bool written = device()->write(reinterpret_cast<const char *>(file), qint64(length)) == qint64(length);
        aei_free(file, length);
        return written;
    }

    bool supportsOption(ImageOption option) const override {
        return option == Size || option == ScaledSize || option == ImageFormat || option == ImageTransformation || option == Quality;
    }

    QVariant option(ImageOption option) const override {
        if (option == Quality) return m_quality;
        if (option == ScaledSize) return m_scaled;
        // Qt asks a constant handler what only reading can tell, in front of the pixels and behind them.
        const bool known = m_info.width || (device() && device()->isReadable() && const_cast<Handler *>(this)->open());
        if (option == ImageTransformation) return int(known ? turns[(m_info.orientation - 1) % 8] : m_turn);
        if (option == Size && known) return QSize(int(m_info.width), int(m_info.height));
        if (option == ImageFormat && known) return format(m_info.channels, m_deep);
        return {};
    }

    void setOption(ImageOption option, const QVariant &value) override {
        if (option == Quality) m_quality = value.toInt();
        if (option == ScaledSize) m_scaled = value.toSize();
        if (option == ImageTransformation) m_turn = Transformations(value.toInt());
    }

private:
    enum class State { Unread, Open, Done };

    static bool failed(const AeiError &error) {
        qWarning("aei: %s", error.message);
        return false;
    }

    static QImage::Format format(uint32_t channels, bool deep) {
        if (channels == 1) return deep ? QImage::Format_Grayscale16 : QImage::Format_Grayscale8;
        if (channels == 3) return deep ? QImage::Format_RGBX64 : QImage::Format_RGB888;
        return deep ? QImage::Format_RGBA64 : QImage::Format_RGBA8888;
    }

    // The file to the end of its last chunk: what follows is left to others. Memory is taken as bytes come.
    QByteArray readFile() {
        QByteArray file = device()->read(signature.size()), head;
        do {
            head = device()->read(8); // type and length
            file += head;
            if (head.size() < 8) break;
            qint64 left = qint64(qFromLittleEndian<quint32>(head.constData() + 4)) + 4; // the sum behind the payload
            if (left > largestFile - file.size()) break;
            while (left > 0) {
                const QByteArray piece = device()->read(qMin(left, qint64(1) << 20));
                if (piece.isEmpty()) return file;
                file += piece;
                left -= piece.size();
            }
        } while (!head.startsWith("IEND"));
        return file;
    }

    // Reads the file and what it says of itself, once.
    bool open() {
        if (m_state != State::Unread) return m_state == State::Open;
        m_state = State::Done;
        if (!canRead(device())) return false;
        const QByteArray file = readFile();
        AeiDecoder *decoder;
        AeiError error = {};
        error.size = sizeof error;
        m_info.size = sizeof m_info;
        if (aei_decoder_new(reinterpret_cast<const uint8_t *>(file.constData()), size_t(file.size()), nullptr, &decoder, &error) != AEI_STATUS_OK) return failed(error);
        m_decoder.reset(decoder);
        if (aei_decoder_info(decoder, &m_info, &error) != AEI_STATUS_OK) return failed(error);
        m_deep = m_info.lossless && m_info.source_depth > 8;
        m_state = State::Open;
        setFormat("aei");
        return true;
    }

    Decoder largeEnoughPreview() const {
        AeiDecoder *preview;
        if (aei_decoder_preview(m_decoder.get(), &preview, nullptr) != AEI_STATUS_OK || !preview) return {};
        AeiInfo info = {};
        info.size = sizeof info;
        Decoder owned(preview);
        const bool large = aei_decoder_info(preview, &info, nullptr) == AEI_STATUS_OK && m_scaled.width() <= int(info.width) && m_scaled.height() <= int(info.height);
        return large ? std::move(owned) : Decoder();
    }

    // Samples of `decoder`, and the profile of `whole`, which a preview does not repeat.
    static bool decode(const AeiDecoder *decoder, const AeiDecoder *whole, bool deep, QImage *image) {
        AeiInfo info = {};
        info.size = sizeof info;
        AeiError error = {};
        error.size = sizeof error;
        if (aei_decoder_info(decoder, &info, &error) != AEI_STATUS_OK) return failed(error);
        const QImage::Format wanted = format(info.channels, deep);
        if (!allocateImage(QSize(int(info.width), int(info.height)), wanted, image)) return false;
        AeiImage target = {sizeof(AeiImage), image->bits(), size_t(image->bytesPerLine()), info.width, info.height, info.channels, deep ? 16u : 8u};
        if (aei_decoder_decode(decoder, &target, &error) != AEI_STATUS_OK) return failed(error);
        if (deep && (info.channels == 2 || info.channels == 3)) spread<quint16>(*image, info.channels);
        if (!deep && info.channels == 2) spread<quint8>(*image, info.channels);
        const uint8_t *icc;
        size_t length;
        image->setColorSpace(QColorSpace()); // a picture that the caller used before may have one
        if (aei_decoder_metadata(whole, AEI_METADATA_ICC, &icc, &length, nullptr) == AEI_STATUS_OK && length)
            image->setColorSpace(QColorSpace::fromIccProfile(QByteArray(reinterpret_cast<const char *>(icc), qsizetype(length))));
        return true;
    }

    State m_state = State::Unread;
    Decoder m_decoder;
    AeiInfo m_info = {};
    bool m_deep = false;
    int m_quality = -1;
    QSize m_scaled;
    Transformations m_turn = TransformationNone;
};

} // namespace

class AeiPlugin final : public QImageIOPlugin {
    Q_OBJECT
    Q_PLUGIN_METADATA(IID "org.qt-project.Qt.QImageIOHandlerFactoryInterface" FILE "aei.json")

public:
    Capabilities capabilities(QIODevice *device, const QByteArray &format) const override {
        if (format == "aei") return CanRead | CanWrite;
        if (!format.isEmpty() || !device || !device->isOpen()) return {};
        Capabilities all;
        if (device->isReadable() && Handler::canRead(device)) all |= CanRead;
        if (device->isWritable()) all |= CanWrite;
        return all;
    }

    QImageIOHandler *create(QIODevice *device, const QByteArray &format) const override {
        auto *handler = new Handler;
        handler->setDevice(device);
        handler->setFormat(format);
        return handler;
    }
};

#include "aei.moc"
