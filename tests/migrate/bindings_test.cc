#include "migrate/bindings.h"

#include <catch2/catch.hpp>

using namespace hob::migrate;

namespace {

void is_whole(const Rule& rule) {
  CHECK_FALSE(rule.kind.empty());
  CHECK_FALSE(rule.reason.empty());
  CHECK(rule.reason.back() != '.');
  // What is refused has no kind: capture gives it none.
  CHECK(rule.binding != Binding::refused);
}

}  // namespace

TEST_CASE("every kind of descriptor and mapping has a row") {
  for (int kind = 0; kind <= static_cast<int>(DescriptionKind::last); kind++)
    is_whole(rule_for(static_cast<DescriptionKind>(kind)));
  for (int kind = 0; kind <= static_cast<int>(MappingKind::last); kind++)
    for (bool shared : {false, true}) is_whole(rule_for(static_cast<MappingKind>(kind), shared));
}

TEST_CASE("the rows that decide what a user sees") {
  CHECK(rule_for(DescriptionKind::external).binding == Binding::at_home);
  CHECK(rule_for(DescriptionKind::terminal).binding == Binding::at_home);
  CHECK(rule_for(DescriptionKind::regular).binding == Binding::rebound);
  CHECK(rule_for(DescriptionKind::pipe_read).binding == Binding::moved);
  CHECK(rule_for(DescriptionKind::object).binding == Binding::copied);
  CHECK(rule_for(MappingKind::anonymous, false).binding == Binding::moved);
  CHECK(rule_for(MappingKind::object, true).binding == Binding::moved);
  CHECK(rule_for(MappingKind::object, false).binding == Binding::copied);
  CHECK(rule_for(MappingKind::file, false).binding == Binding::rebound);
  CHECK(word_of(Binding::at_home) == "at home");
}
