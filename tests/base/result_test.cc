#include "base/result.h"

#include <catch2/catch.hpp>
#include <memory>

namespace hob {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return Error{"halve: odd", EDOM};
  return number / 2;
}

Result<int> quarter(int number) {
  return TRY(half(TRY(half(number))));
}

Result<void> must_halve(int number) {
  TRY(half(number));
  return {};
}

TEST_CASE("a Result is a value or the Error") {
  CHECK(half(4).ok());
  CHECK(*half(4) == 2);
  REQUIRE_FALSE(half(3));
  CHECK(half(3).error().text == "halve: odd");
  CHECK(half(3).error().code == EDOM);
}

TEST_CASE("TRY takes the value, or returns the Error of the step that failed") {
  CHECK(*quarter(8) == 2);
  CHECK(quarter(6).error().code == EDOM);
  CHECK(quarter(7).error().code == EDOM);
  CHECK(must_halve(2).ok());
  CHECK(must_halve(1).error().text == "halve: odd");
}

TEST_CASE("a Result carries what can only be moved") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  std::unique_ptr<int> taken = std::move(result).value();
  CHECK(*taken == 7);
}

TEST_CASE("an Error says operation, subject, cause and what to do") {
  errno = ENOENT;
  CHECK(Error::sys("open", "/x").text == "open /x: No such file or directory");
  CHECK(Error::sys("open", "/x").code == ENOENT);
  CHECK(Error::sys("open", "/x", EACCES, "run as root").text ==
        "open /x: Permission denied; run as root");
  CHECK(Error::sys("pipe", "", EMFILE).text == "pipe: Too many open files");
  const Error outer = Error::sys("open", "/x", EACCES).in("start job 7");
  CHECK(outer.text == "start job 7: open /x: Permission denied");
  CHECK(outer.code == EACCES);
}

}  // namespace
}  // namespace hob
