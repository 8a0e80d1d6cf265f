#include "hostd/input_filter.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"

namespace hob {
namespace {

/// A movement of a mouse counts when it adds up to so many steps within a stroke's time. At 800
/// steps to the inch it is an eighth of a millimetre: the first report or two of any real movement.
constexpr int64_t kLeastSteps = 4;
constexpr Duration kStroke = milliseconds(250);

/// A change of an absolute axis counts beyond this part of its range, or beyond what the device
/// declares as noise if that is more.
constexpr int64_t kLeastPartOfRange = 50;

bool any_between(const std::bitset<KEY_CNT>& keys, size_t first, size_t end) {
  for (size_t code = first; code < end; ++code)
    if (keys.test(code)) return true;
  return false;
}

}  // namespace

DeviceKind classify(const DeviceAbilities& can) {
  if (can.properties.test(INPUT_PROP_ACCELEROMETER)) return DeviceKind::none;
  const bool moves = can.relative.test(REL_X) && can.relative.test(REL_Y);
  const bool points = can.absolute.test(ABS_X) && can.absolute.test(ABS_Y);
  if (can.keys.none()) return moves ? DeviceKind::mouse : DeviceKind::none;
  if (points && (can.keys.test(BTN_TOOL_PEN) || can.keys.test(BTN_STYLUS)))
    return DeviceKind::tablet;
  if (points && can.keys.test(BTN_TOOL_FINGER) && !can.properties.test(INPUT_PROP_DIRECT))
    return DeviceKind::touchpad;
  if (points && can.keys.test(BTN_TOUCH)) return DeviceKind::touchscreen;
  if (can.keys.test(BTN_LEFT) && (moves || points)) return DeviceKind::mouse;
  if (any_between(can.keys, BTN_JOYSTICK, BTN_DIGI)) return DeviceKind::joystick;
  // The letters' block, as udev takes it: a keyboard has them, a power button has not.
  if (can.keys.test(KEY_A) && can.keys.test(KEY_Z)) return DeviceKind::keyboard;
  return DeviceKind::buttons;
}

std::string_view to_string(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::none:
      return "sensor";
    case DeviceKind::keyboard:
      return "keyboard";
    case DeviceKind::mouse:
      return "mouse";
    case DeviceKind::touchpad:
      return "touchpad";
    case DeviceKind::touchscreen:
      return "touchscreen";
    case DeviceKind::tablet:
      return "tablet";
    case DeviceKind::joystick:
      return "game controller";
    case DeviceKind::buttons:
      return "buttons";
  }
  check_failed(__FILE__, __LINE__, "a DeviceKind");
}

EventFilter::EventFilter(std::map<uint16_t, Axis> axes) : axes_(std::move(axes)) {}

bool EventFilter::counts(uint16_t type, uint16_t code, int32_t value, Time when) {
  switch (type) {
    case EV_KEY:
      return true;
    case EV_REL:
      return relative_counts(code, value, when);
    case EV_ABS:
      return absolute_counts(code, value);
    default:
      return false;  // EV_SYN, EV_MSC, EV_SW, EV_LED, EV_SND, EV_REP, EV_FF, EV_PWR
  }
}

bool EventFilter::relative_counts(uint16_t code, int32_t value, Time when) {
  if (value == 0) return false;
  const bool wheel = code != REL_X && code != REL_Y && code != REL_Z;
  if (wheel) return true;
  if (when - stroke_began_ > kStroke) {
    stroke_began_ = when;
    stroke_ = 0;
  }
  stroke_ += std::abs(static_cast<int64_t>(value));
  return stroke_ >= kLeastSteps;
}

bool EventFilter::absolute_counts(uint16_t code, int32_t value) {
  // The axes of single fingers (ABS_MT_*) come beside the plain ones, and a touch with BTN_TOUCH.
  if (code >= ABS_MT_SLOT) return false;
  const auto it = axes_.find(code);
  if (it == axes_.end()) return false;
  Axis& axis = it->second;
  const int64_t range = static_cast<int64_t>(axis.maximum) - axis.minimum;
  const int64_t noise = std::max({range / kLeastPartOfRange, 2 * static_cast<int64_t>(axis.fuzz),
                                  static_cast<int64_t>(axis.flat)});
  if (std::abs(static_cast<int64_t>(value) - axis.value) <= noise) return false;
  axis.value = value;
  return true;
}

}  // namespace hob
