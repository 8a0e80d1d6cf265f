#include "hostd/input_filter.h"

#include <catch2/catch.hpp>

using namespace hob;

namespace {

DeviceAbilities with_keys(std::initializer_list<size_t> keys) {
  DeviceAbilities can;
  for (const size_t key : keys) can.keys.set(key);
  return can;
}

DeviceAbilities and_moves(DeviceAbilities can) {
  can.relative.set(REL_X), can.relative.set(REL_Y);
  return can;
}

DeviceAbilities and_points(DeviceAbilities can) {
  can.absolute.set(ABS_X), can.absolute.set(ABS_Y);
  return can;
}

const Time kThen{hours(1)};

}  // namespace

TEST_CASE("what a hand is on is told from what no hand is on") {
  CHECK(classify(with_keys({KEY_A, KEY_Z, KEY_ENTER})) == DeviceKind::keyboard);
  CHECK(classify(with_keys({KEY_POWER})) == DeviceKind::buttons);
  CHECK(classify(and_moves(with_keys({BTN_LEFT, BTN_RIGHT}))) == DeviceKind::mouse);
  CHECK(classify(and_moves({})) == DeviceKind::mouse);
  CHECK(classify(and_points(with_keys({BTN_LEFT, BTN_TOUCH, BTN_TOOL_FINGER}))) ==
        DeviceKind::touchpad);
  CHECK(classify(and_points(with_keys({BTN_TOUCH}))) == DeviceKind::touchscreen);
  CHECK(classify(and_points(with_keys({BTN_TOUCH, BTN_TOOL_PEN}))) == DeviceKind::tablet);
  CHECK(classify(and_points(with_keys({BTN_SOUTH, BTN_EAST}))) == DeviceKind::joystick);

  // Lid, jacks: EV_SW alone. Beeper: EV_SND alone. Ambient light: one EV_ABS axis.
  CHECK(classify({}) == DeviceKind::none);
  CHECK(classify(and_points({})) == DeviceKind::none);
  DeviceAbilities accelerometer = and_points(with_keys({KEY_A, KEY_Z}));
  accelerometer.properties.set(INPUT_PROP_ACCELEROMETER);
  CHECK(classify(accelerometer) == DeviceKind::none);
}

TEST_CASE("keys and wheels count, states and marks do not") {
  EventFilter filter;
  CHECK(filter.counts(EV_KEY, KEY_A, 1, kThen));
  CHECK(filter.counts(EV_KEY, KEY_A, 0, kThen));
  CHECK(filter.counts(EV_REL, REL_WHEEL, -1, kThen));
  for (const uint16_t type :
       std::initializer_list<uint16_t>{EV_SYN, EV_MSC, EV_SW, EV_LED, EV_SND, EV_REP})
    CHECK_FALSE(filter.counts(type, 0, 1, kThen));
}

TEST_CASE("single steps of a mouse are noise, a movement is not") {
  EventFilter filter;
  Time t = kThen;
  for (int i = 0; i < 100; ++i, t += seconds(1))
    CHECK_FALSE(filter.counts(EV_REL, REL_X, i % 2 ? 1 : -1, t));
  CHECK_FALSE(filter.counts(EV_REL, REL_X, 0, t));
  CHECK(filter.counts(EV_REL, REL_Y, -5, t));
  t += seconds(1);
  CHECK_FALSE(filter.counts(EV_REL, REL_X, 2, t));
  CHECK(filter.counts(EV_REL, REL_Y, 2, t + milliseconds(8)));
}

TEST_CASE("an axis counts once it goes further than its noise") {
  EventFilter filter({{ABS_X, {0, 1000, 0, 0, 500}},
                      {ABS_Y, {0, 1000, 30, 0, 500}},
                      {ABS_Z, {-100, 100, 0, 15, 0}}});
  CHECK_FALSE(filter.counts(EV_ABS, ABS_X, 520, kThen));
  CHECK(filter.counts(EV_ABS, ABS_X, 521, kThen));
  CHECK_FALSE(filter.counts(EV_ABS, ABS_X, 501, kThen));
  CHECK_FALSE(filter.counts(EV_ABS, ABS_Y, 560, kThen));
  CHECK(filter.counts(EV_ABS, ABS_Y, 561, kThen));
  CHECK_FALSE(filter.counts(EV_ABS, ABS_Z, 15, kThen));
  CHECK(filter.counts(EV_ABS, ABS_Z, -16, kThen));
  CHECK_FALSE(filter.counts(EV_ABS, ABS_RX, 9999, kThen));
  CHECK_FALSE(filter.counts(EV_ABS, ABS_MT_POSITION_X, 9999, kThen));
}

TEST_CASE("axes with absurd ranges do no harm") {
  EventFilter filter({{ABS_X, {INT32_MIN, INT32_MAX, INT32_MAX, INT32_MIN, 0}}});
  CHECK_FALSE(filter.counts(EV_ABS, ABS_X, INT32_MAX, kThen));
  CHECK_FALSE(filter.counts(EV_ABS, ABS_X, INT32_MIN, kThen));
}
