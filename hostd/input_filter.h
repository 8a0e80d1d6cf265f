#pragma once

#include <linux/input.h>

#include <bitset>
#include <cstdint>
#include <map>
#include <string_view>

#include "base/time.h"

namespace hob {

/// What an input device says that it can do: the bit maps of EVIOCGBIT and EVIOCGPROP.
struct DeviceAbilities {
  std::bitset<KEY_CNT> keys;
  std::bitset<REL_CNT> relative;
  std::bitset<ABS_CNT> absolute;
  std::bitset<INPUT_PROP_CNT> properties;
};

enum class DeviceKind { none, keyboard, mouse, touchpad, touchscreen, tablet, joystick, buttons };

/// What hand the device is for, judged as udev's input_id does. `none`: nobody's; accelerometers
/// and other sensors, lid and jack switches, beepers and lights say nothing of an owner.
DeviceKind classify(const DeviceAbilities& abilities);

/// "keyboard", "mouse", ...
std::string_view to_string(DeviceKind kind);

/// Tells the owner's hand from a device's own noise, event by event. Keys, buttons and wheels
/// always count (which key is not looked at). A pointer on a shaking desk or a glossy mat reports
/// single steps, and the stick of a gamepad never rests quite: movements count once they go further
/// than that.
class EventFilter {
 public:
  struct Axis {
    int32_t minimum = 0;
    int32_t maximum = 0;
    int32_t fuzz = 0;  // the kernel's own figure of the noise; units of the axis, as all here
    int32_t flat = 0;  // how far from its middle a stick may rest
    int32_t value = 0;
  };
  explicit EventFilter(std::map<uint16_t, Axis> axes = {});

  /// Was this event the owner? `when` is the event's own time; events come in order.
  bool counts(uint16_t type, uint16_t code, int32_t value, Time when);

 private:
  bool relative_counts(uint16_t code, int32_t value, Time when);
  bool absolute_counts(uint16_t code, int32_t value);

  std::map<uint16_t, Axis> axes_;
  Time stroke_began_{};
  int64_t stroke_ = 0;
};

}  // namespace hob
