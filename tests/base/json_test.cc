#include "base/json.h"

#include "base/time.h"
//
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;

TEST_CASE("instants are RFC 3339 in UTC") {
  CHECK(rfc3339(0) == "1970-01-01T00:00:00.000Z");
  CHECK(rfc3339(1'772'366'400'250'000'000) == "2026-03-01T12:00:00.250Z");
}

TEST_CASE("JSON escapes what it must and replaces what is no UTF-8") {
  JsonWriter json;
  json.member("a\"b", "c\\d\n\x01").member("x", "\xff").array("list");
  json.object().end();
  json.member("", "e").end().member("f", 0.1).null("g").member("h", true);
  CHECK(std::move(json).document() ==
        "{\"a\\\"b\":\"c\\\\d\\u000a\\u0001\",\"x\":\"\xef\xbf\xbd\",\"x_b64\":\"/"
        "w==\",\"list\":[{},\"e\"],"
        "\"f\":0.1,\"g\":null,\"h\":true}\n");
}

TEST_CASE("an element of an array that is no UTF-8 is one element") {
  JsonWriter json;
  json.array("list").member("", "\xff").member("", "b");
  CHECK(std::move(json).document() == "{\"list\":[\"\xef\xbf\xbd\",\"b\"]}\n");
}

TEST_CASE("UTF-8: surrogates, overlong forms and what is beyond Unicode are replaced") {
  CHECK(valid_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") ==
        "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  const std::string bad = "\xef\xbf\xbd";
  CHECK(valid_utf8("\xc0\x80") == bad + bad);
  CHECK(valid_utf8("\xed\xa0\x80") == bad + bad + bad);
  CHECK(valid_utf8("\xf4\x90\x80\x80") == bad + bad + bad + bad);
  CHECK(valid_utf8("\xe2\x82") == bad + bad);
  rc::prop("what comes out is valid", [](const std::string& bytes) {
    const std::string once = valid_utf8(bytes);
    RC_ASSERT(valid_utf8(once) == once);
  });
}

TEST_CASE("base64 as in RFC 4648 section 10") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foobar") == "Zm9vYmFy");
}
