#include <sys/stat.h>

#include "base/fd.h"
#include "wire/zmq.h"

#include <catch2/catch.hpp>

#include "tests/kit/scratch.h"

namespace hob::wire {
namespace {

TEST_CASE("keys have a printed form, and a public key follows from its secret") {
  const KeyPair keys = generate_key_pair();
  CHECK(generate_key_pair().secret_key != keys.secret_key);
  CHECK(to_text(keys.public_key).size() == 40);
  CHECK(*key_from_text(to_text(keys.public_key)) == keys.public_key);
  CHECK(*public_key_of(keys.secret_key) == keys.public_key);
}

TEST_CASE("text that is no key is refused") {
  const std::string good = to_text(generate_key_pair().public_key);
  CHECK_FALSE(key_from_text("").ok());
  CHECK_FALSE(key_from_text(good.substr(1)).ok());
  CHECK_FALSE(key_from_text(good + "0").ok());
  CHECK_FALSE(key_from_text(good.substr(1) + " ").ok());
  CHECK_FALSE(key_from_text(good.substr(1) + "\xff").ok());
  CHECK_FALSE(key_from_text(std::string(40, '#')).ok());  // more than 32 bits in five characters
  CHECK_FALSE(key_from_text(good.substr(5) + std::string(5, '\0')).ok());
}

TEST_CASE("a secret key file is for its owner alone") {
  Scratch dir;
  const std::string path = dir / "host.key";
  const Key secret = generate_key_pair().secret_key;
  REQUIRE(write_secret_key(path, secret).ok());
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0600);
  CHECK(*read_secret_key(path) == secret);
  for (mode_t mode : {0604u, 0640u, 0620u, 0601u, 0666u}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    const Error error = read_secret_key(path).error();
    CHECK(error.code == EPERM);
    CHECK(error.text == "read key " + path + ": others may read it; run: chmod 600 " + path);
  }
  REQUIRE(::chmod(path.c_str(), 0400) == 0);
  CHECK(read_secret_key(path).ok());
}

TEST_CASE("a damaged secret key file is an Error that does not tell what is in it") {
  Scratch dir;
  const std::string path = dir / "host.key";
  const std::string text = to_text(generate_key_pair().secret_key);
  for (const std::string& damaged :
       {std::string(), text.substr(0, 39), text + text, text.substr(1) + "\"", "x" + text}) {
    REQUIRE(replace_file(path, damaged, 0600).ok());
    CHECK(read_secret_key(path).error().text == "read key " + path + ": damaged; make a new one");
  }
  REQUIRE(replace_file(path, std::string(100'000, 'x'), 0600).ok());
  CHECK(read_secret_key(path).error().code == EFBIG);
}

TEST_CASE("a secret key file that is missing says what makes it") {
  Scratch dir;
  const Error error = read_secret_key(dir / "none").error();
  CHECK(error.code == ENOENT);
  CHECK(error.text.find("remote cell init") != std::string::npos);
}

}  // namespace
}  // namespace hob::wire
