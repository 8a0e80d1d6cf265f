// The evdev source against devices of umockdev: real libevdev, real ioctls, real events, hot-plug.
// Runs under umockdev-wrapper; /dev/input is then the test's own.

#include "journal.h"

#include <linux/input.h>
#include <umockdev.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

using namespace hob;

namespace {

/// Bytes as the hexadecimal text of umockdev's records.
template <size_t N>
std::string hex(const std::array<uint8_t, N>& bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02X", byte);
    text += two;
  }
  return text;
}

/// A bit map in whole longs, as libevdev asks the kernel for it.
template <size_t Bits>
std::string bit_map(const std::vector<unsigned>& set) {
  std::array<uint8_t, (Bits + 63) / 64 * 8> bytes{};
  for (const unsigned bit : set) bytes.at(bit / 8) |= static_cast<uint8_t>(1u << (bit % 8));
  return hex(bytes);
}

/// What a device answers when libevdev asks what it is.
struct Description {
  std::string name;
  std::vector<unsigned> types, keys, relative, absolute, switches, properties;

  std::string ioctls(const std::string& node) const {
    std::array<uint8_t, 255> padded{};
    std::memcpy(padded.data(), name.data(), name.size());
    std::string text = "@DEV " + node + "\n";
    const auto line = [&](const std::string& ioctl, const std::string& data, size_t result) {
      text.append(ioctl)
          .append(" ")
          .append(std::to_string(result))
          .append(" ")
          .append(data)
          .append("\n");
    };
    line("EVIOCGID", "11000100010041AB", 0);
    line("EVIOCGVERSION", "01000100", 0);
    line("EVIOCGNAME", hex(padded), name.size() + 1);
    line("EVIOCGPROP", bit_map<INPUT_PROP_CNT>(properties), 8);
    line("EVIOCGBIT(0)", bit_map<EV_CNT>(types), 8);
    line("EVIOCGBIT(1)", bit_map<KEY_CNT>(keys), 96);
    line("EVIOCGBIT(2)", bit_map<REL_CNT>(relative), 8);
    line("EVIOCGBIT(3)", bit_map<ABS_CNT>(absolute), 8);
    line("EVIOCGBIT(4)", bit_map<MSC_CNT>({}), 8);
    line("EVIOCGBIT(5)", bit_map<SW_CNT>(switches), 8);
    line("EVIOCGBIT(17)", bit_map<LED_CNT>({}), 8);
    line("EVIOCGBIT(18)", bit_map<SND_CNT>({}), 8);
    line("EVIOCGBIT(21)", bit_map<FF_CNT>({}), 16);
    line("EVIOCGKEY", bit_map<KEY_CNT>({}), 96);
    line("EVIOCGLED", bit_map<LED_CNT>({}), 8);
    line("EVIOCGSW", bit_map<SW_CNT>({}), 8);
    for (const unsigned axis : absolute)  // value 0, from -1000 to 1000, no fuzz, no flat
      line("EVIOCGABS(" + std::to_string(axis) + ")",
           "0000000018FCFFFFE8030000" + std::string(24, '0'), 0);
    return text;
  }
};

const Description kKeyboard{"AT Translated Set 2 keyboard",
                            {EV_SYN, EV_KEY, EV_MSC},
                            {KEY_A, KEY_Z, KEY_ENTER},
                            {},
                            {},
                            {},
                            {}};
const Description kMouse{"Optical Mouse",
                         {EV_SYN, EV_KEY, EV_REL},
                         {BTN_LEFT, BTN_RIGHT},
                         {REL_X, REL_Y, REL_WHEEL},
                         {},
                         {},
                         {}};
const Description kLid{"Lid Switch", {EV_SYN, EV_SW}, {}, {}, {}, {SW_LID}, {}};
const Description kAccelerometer{
    "Accelerometer",           {EV_SYN, EV_ABS}, {}, {}, {ABS_X, ABS_Y, ABS_Z}, {},
    {INPUT_PROP_ACCELEROMETER}};
const Description kGamepad{"Gamepad", {EV_SYN, EV_KEY, EV_ABS}, {BTN_SOUTH}, {}, {ABS_X, ABS_Y}, {},
                           {}};

class Rig {
 public:
  Rig() {
    char path[] = "/tmp/hob-evdev-XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    scratch_ = path;
  }
  ~Rig() {
    source.reset();
    g_object_unref(testbed_);
    std::filesystem::remove_all(scratch_);
  }

  std::string dev() const {
    gchar* root = umockdev_testbed_get_root_dir(testbed_);
    const std::string text = std::string(root) + "/dev/input";
    g_free(root);
    return text;
  }
  static std::string node(int number) { return "/dev/input/event" + std::to_string(number); }

  void plug(int number, const Description& device) {
    const std::string n = std::to_string(number);
    const std::string text = "P: /devices/d" + n + "/event" + n + "\nN: input/event" + n +
                             "\nE: SUBSYSTEM=input\nE: DEVNAME=" + node(number) + "\n";
    GError* error = nullptr;
    INFO(device.name);
    REQUIRE(umockdev_testbed_add_from_string(testbed_, text.c_str(), &error));
    const std::string file = scratch_ + "/" + n + ".ioctl";
    std::ofstream(file) << device.ioctls(node(number));
    REQUIRE(umockdev_testbed_load_ioctl(testbed_, nullptr, file.c_str(), &error));
  }
  void unplug(int number) {
    const std::string n = std::to_string(number);
    umockdev_testbed_remove_device(testbed_, ("/sys/devices/d" + n + "/event" + n).c_str());
    // umockdev leaves the node; udev would take it away.
    REQUIRE(::unlink((dev() + "/event" + n).c_str()) == 0);
  }
  void start() {
    source = make_evdev_source(*loop);
    source->start(journal.callbacks());
  }
  /// The device reports this and the mark of its end, as one write of the driver.
  void event(int number, uint16_t type, uint16_t code, int32_t value) {
    input_event events[2]{};
    events[0].type = type, events[0].code = code, events[0].value = value;
    const int fd = umockdev_testbed_get_dev_fd(testbed_, node(number).c_str());
    REQUIRE(::write(fd, events, sizeof events) == sizeof events);
  }
  void replay(int number, const std::string& events) {
    const std::string file = scratch_ + "/events";
    std::ofstream(file) << events;
    GError* error = nullptr;
    REQUIRE(
        umockdev_testbed_load_evemu_events(testbed_, node(number).c_str(), file.c_str(), &error));
  }
  /// After a use the source rests for a second; what comes then is told at its end.
  bool wait(size_t lines) { return journal.wait_for(*loop, lines); }
  Lines next() {
    REQUIRE(wait(1));
    return journal.take();
  }

  std::unique_ptr<EventLoop> loop = EventLoop::create().value();
  Journal journal;
  std::unique_ptr<InputSource> source;

 private:
  UMockdevTestbed* testbed_ = umockdev_testbed_new();
  std::string scratch_;
};

const std::string kKeyboardUsed = "input keyboard 'AT Translated Set 2 keyboard'";
const std::string kMouseUsed = "input mouse 'Optical Mouse'";

}  // namespace

TEST_CASE("a key on a keyboard is an input") {
  Rig rig;
  rig.plug(1, kKeyboard);
  rig.start();
  CHECK(rig.journal.take() == Lines{"readable"});
  rig.event(1, EV_KEY, KEY_A, 1);
  CHECK(rig.next() == Lines{kKeyboardUsed});
  CHECK_FALSE(rig.journal.future);
}

TEST_CASE("a recording of typing wakes the source once, and again after a rest") {
  Rig rig;
  rig.plug(1, kKeyboard);
  rig.start();
  rig.journal.take();
  std::string typing;
  // 50 keys, for umockdev's devices tear events apart once 4 KiB wait.
  for (int i = 0; i < 50; ++i) {
    char line[128];
    std::snprintf(line, sizeof line, "E: 0.%06d 0001 001e %04d\nE: 0.%06d 0000 0000 0000\n",
                  i * 1000, i % 2, i * 1000);
    typing += line;
  }
  rig.replay(1, typing);
  REQUIRE(rig.wait(2));
  const Lines lines = rig.journal.take();
  for (const std::string& line : lines) CHECK(line == kKeyboardUsed);
  CHECK(lines.size() < 50);
}

TEST_CASE("a mouse that shakes is no input, one that moves is") {
  Rig rig;
  rig.plug(2, kMouse);
  rig.start();
  rig.journal.take();
  rig.event(2, EV_REL, REL_X, 1);
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
  rig.event(2, EV_REL, REL_Y, -7);
  CHECK(rig.next() == Lines{kMouseUsed});
}

TEST_CASE("lids and accelerometers are not listened to") {
  Rig rig;
  rig.plug(3, kLid);
  rig.plug(4, kAccelerometer);
  rig.start();
  CHECK(rig.journal.take() == Lines{"readable"});
  rig.event(3, EV_SW, SW_LID, 1);
  rig.event(4, EV_ABS, ABS_X, 900);
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
}

TEST_CASE("a stick that trembles is no input, one that is pushed is") {
  Rig rig;
  rig.plug(5, kGamepad);
  rig.start();
  rig.journal.take();
  rig.event(5, EV_ABS, ABS_X, 40);
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
  rig.event(5, EV_ABS, ABS_X, 41);
  CHECK(rig.next() == Lines{"input game controller 'Gamepad'"});
}

namespace {

void plug_in_and_type(Rig& rig, int number) {
  rig.plug(number, kKeyboard);
  CHECK(rig.next() == Lines{kKeyboardUsed + " plugged in,"});
  rig.event(number, EV_KEY, KEY_Z, 1);
  CHECK(rig.next() == Lines{kKeyboardUsed});
}

}  // namespace

TEST_CASE("a keyboard that is plugged in later is an input, and listened to") {
  Rig rig;
  rig.plug(2, kMouse);
  rig.start();
  rig.journal.take();
  plug_in_and_type(rig, 1);
}

TEST_CASE("a keyboard that is unplugged is forgotten, and may come again") {
  Rig rig;
  rig.plug(1, kKeyboard);
  rig.start();
  rig.journal.take();
  rig.unplug(1);
  Journal::settle(*rig.loop);
  CHECK(rig.journal.take() == Lines{});
  plug_in_and_type(rig, 6);
}

TEST_CASE("a device that cannot be asked makes the source unreadable until it is gone") {
  Rig rig;
  rig.plug(2, kMouse);
  rig.start();
  CHECK(rig.journal.take() == Lines{"readable"});
  std::ofstream(rig.dev() + "/event9") << "no device";
  REQUIRE(rig.wait(1));
  const Lines lines = rig.journal.take();
  REQUIRE(lines.size() == 1);
  CHECK_THAT(lines[0], Catch::StartsWith("unreadable cannot be read: ask for the abilities of "
                                         "/dev/input/event9: "));
  REQUIRE(::unlink((rig.dev() + "/event9").c_str()) == 0);
  CHECK(rig.next() == Lines{"readable"});
}

TEST_CASE("without a directory of devices the source is unreadable") {
  auto loop = EventLoop::create().value();
  Journal journal;
  const auto source = make_evdev_source(*loop, "/nonexistent/input");
  source->start(journal.callbacks());
  CHECK(
      journal.take() ==
      Lines{"unreadable cannot be read: watch /nonexistent/input: No such file or directory; leave "
            "\"evdev\" out of idle.sources on a machine without input devices"});
}

TEST_CASE("the directory of devices may come later, and go") {
  char path[] = "/tmp/hob-evdev-XXXXXX";
  REQUIRE(::mkdtemp(path) != nullptr);
  const std::string directory = std::string(path) + "/input";
  auto loop = EventLoop::create().value();
  Journal journal;
  const auto source = make_evdev_source(*loop, directory);
  source->start(journal.callbacks());
  CHECK(journal.take().size() == 1);
  std::filesystem::create_directory(directory);
  REQUIRE(journal.wait_for(*loop, 1));
  CHECK(journal.take() == Lines{"readable"});
  std::filesystem::remove_all(path);
  REQUIRE(journal.wait_for(*loop, 1));
  CHECK_THAT(journal.take().at(0),
             Catch::StartsWith("unreadable cannot be read: watch " + directory));
}
