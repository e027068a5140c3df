// Opens a picture with Qt, tells what it says of it, and saves it: check FILE [[-s SIDE] OUT [QUALITY [TURN]]]. For `try` in the folder above.
#include <QColorSpace>
#include <QCoreApplication>
#include <QImageReader>
#include <QImageWriter>
#include <QTextStream>

int main(int argc, char **argv) {
    QCoreApplication app(argc, argv);
    QStringList words = app.arguments().mid(1);
    QTextStream out(stdout);
    QImageReader reader(words.takeFirst());
    reader.setAutoTransform(true);
    if (words.value(0) == "-s") {
        words.removeFirst();
        const int side = words.takeFirst().toInt();
        reader.setScaledSize(reader.size().scaled(side, side, Qt::KeepAspectRatio));
    }
    out << reader.format() << " " << reader.size().width() << "x" << reader.size().height() << ", transformation " << int(reader.transformation()) << ", format "
        << int(reader.imageFormat()) << "\n";
    QImage image;
    if (reader.format() == "aei") { // what was read into it before is no part of the picture
        image = QImage(reader.size(), reader.imageFormat());
        image.setColorSpace(QColorSpace::AdobeRgb);
    }
    if (!reader.read(&image)) {
        out << "error: " << reader.errorString() << "\n";
        return 1;
    }
    out << "pixels " << image.width() << "x" << image.height() << ", depth " << image.depth() << ", profile "
        << (image.colorSpace().isValid() ? "yes" : "none");
    if (const qint64 behind = reader.device()->bytesAvailable()) out << ", bytes behind " << behind;
    out << "\n";
    if (words.isEmpty()) return 0;
    QImageWriter writer(words.value(0));
    if (words.size() > 1) writer.setQuality(words.value(1).toInt());
    if (words.size() > 2) writer.setTransformation(QImageIOHandler::Transformation(words.value(2).toInt()));
    if (writer.write(image)) return 0;
    out << "error: " << writer.errorString() << "\n";
    return 1;
}
