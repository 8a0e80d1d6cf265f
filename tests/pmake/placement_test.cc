#include <rapidcheck.h>
#include <rapidcheck/catch.h>

#include <string>
#include <vector>

#include "placement_kit.h"

using namespace hob;
using namespace hob::pmake;
using test::place;

namespace {

/// `word` in one of the ways that mean the same to a shell.
rc::Gen<std::string> quoted(const std::string& word) {
  return rc::gen::exec([word] {
    std::string text;
    for (const char c : word) {
      switch (*rc::gen::inRange(0, 5)) {
        case 0:
          text += std::string("'") + c + "'";
          break;
        case 1:
          text += std::string("\"") + c + "\"";
          break;
        case 2:
          text += std::string("\\") + c;
          break;
        case 3:
          text += std::string("\\\n") + c;
          break;
        default:
          text += c;
      }
    }
    return text;
  });
}

/// Commands whose first word a shell takes for a program, quoted or not.
const std::vector<std::pair<std::string, std::string>> kCommands = {
    {"make", "-C sub"}, {"gcc", "-c x.c"},   {"mkdir", "-p x"},   {"sudo", "cp a b"},
    {"cat", "x"},       {"docker", "ps"},    {"/bin/rm", "-f x"}, {"/usr/bin/make", "all"},
    {"nice", "gcc x"},  {"env", "A=b make"}, {"sh", "-c 'make'"}, {"./configure", ""}};

std::string command() {
  const auto& [name, arguments] = *rc::gen::elementOf(kCommands);
  return name + " " + arguments;
}

/// Text that is likely to come near the reader's corners.
rc::Gen<std::string> shell_noise() {
  static const std::vector<std::string> kPieces = {
      "make", "gcc", "cat",  "a",    " ",  "\n",    ";",      ";;",   "&",     "&&",
      "|",    "||",  "(",    ")",    "{",  "}",     "$(",     "$((",  "))",    "`",
      "\"",   "'",   "\\",   "\\\n", "$",  "${",    "#",      "<",    ">",     "<<",
      "<<-",  "<<<", "2>&1", "if",   "fi", "do",    "for ",   "in ",  "case ", "esac",
      "*",    "~",   "=",    "x=",   "[",  "eval ", "sh -c ", "env ", "\0"};
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(kPieces)),
                      [](const std::vector<std::string>& pieces) {
                        std::string text;
                        for (const std::string& piece : pieces) text += piece;
                        return text;
                      });
}

}  // namespace

TEST_CASE("properties of the place") {
  rc::prop("quoting a command's word does not change it", [] {
    const auto [name, arguments] = *rc::gen::elementOf(kCommands);
    const std::string plain = name + " " + arguments;
    const std::string other = *quoted(name) + " " + arguments;
    RC_ASSERT(place(other) == place(plain));
  });

  rc::prop("a line with a make is recursive, wherever it stands", [] {
    std::string text = *rc::gen::element<std::string>("make", "make -C sub all", "/usr/bin/make x",
                                                      "$MAKE x", "'ma'ke");
    const int depth = *rc::gen::inRange(0, 6);
    for (int i = 0; i < depth; ++i) {
      const std::string other = command();
      // "$( (": without the blank it is arithmetic.
      switch (*rc::gen::inRange(0, 10)) {
        case 0:
          text = other + "; " + text;
          break;
        case 1:
          text = other + " && " + text + " || exit 1";
          break;
        case 2:
          text = "(" + text + ")";
          break;
        case 3:
          text = "{ " + text + "; }";
          break;
        case 4:
          text = "if " + other + "; then " + text + "; fi";
          break;
        case 5:
          text = "for i in a b; do " + text + "; done";
          break;
        case 6:
          text = "case $x in a) " + other + ";; *) " + text + ";; esac";
          break;
        case 7:
          text = "x=\"$( " + text + ")\"";
          break;
        case 8:
          text = text + " | " + other;
          break;
        default:
          text = "# make\n" + text;
          break;
      }
    }
    RC_ASSERT(place(text) == Place::recursive);
  });

  rc::prop("words that are no command never change it", [] {
    const std::string word = *rc::gen::element<std::string>("make", "sudo", "docker", "'; make'",
                                                            "\"& make\"", "\\;make");
    RC_ASSERT(place("gcc -c x.c " + word) == Place::out);
    RC_ASSERT(place("echo " + word) == Place::cheap);
    RC_ASSERT(place("echo '" + std::string("$(make) `sudo x` &") + "' # " + word) == Place::cheap);
  });

  rc::prop("one command that goes out takes cheap ones along, and no cheap one sends it out", [] {
    const std::vector<std::string> cheap = *rc::gen::container<std::vector<std::string>>(
        rc::gen::element<std::string>("mkdir x", "rm -f y", "echo a", "cat b", "test -d c", "d=1"));
    std::string line = ":";
    for (const std::string& each : cheap)
      line += *rc::gen::element<std::string>("; ", " && ", " || ", " | ", "\n") + each;
    RC_ASSERT(place(line) == Place::cheap);
    RC_ASSERT(place(line + "; gcc -c x.c") == Place::out);
    RC_ASSERT(place("gcc -c x.c; " + line) == Place::out);
    RC_ASSERT(place(line + "; sudo x") == Place::home);
  });

  rc::prop("any text has a place", [] {
    const std::string noise = *shell_noise();
    const Verdict verdict = test::verdict_of({.command = noise, .target = noise});
    RC_ASSERT(verdict.why.empty() == (verdict.place == Place::out));
    RC_ASSERT(test::verdict_of({.command = noise}, {.home_commands = {"% %", "%x"}}).place <=
              Place::recursive);
  });
  rc::prop("any bytes have a place", [](const std::string& bytes) {
    RC_ASSERT(test::verdict_of({.command = bytes}).place <= Place::recursive);
  });
}

TEST_CASE("hostile lines of a megabyte are read in one pass") {
  // Each of them would take minutes were any part of it read again for what comes before it.
  constexpr size_t kLength = 1 << 20;
  for (const std::string piece :
       {"(",     "$(",   "$((", "`",       "\"$(",       "${x:-", "'",       "\"",    "\\`", "<<a ",
        "<<a\n", "a=",   "2>",  "[",       "case a in ", "if ",   "sh -c '", "eval ", "$x",  "a;",
        "f() {", "for ", "a&",  "cat a ;", "cd a;",      "# ",    "env ",    "nice ", "\\\n"}) {
    INFO(piece);
    std::string text;
    while (text.size() < kLength) text += piece;
    CHECK(place(text) <= Place::recursive);
  }
}

TEST_CASE("a long link line goes out, and is recursive with a make at its end") {
  std::string line = "gcc -shared -o libx.so";
  for (int i = 0; i < 5000; ++i) line += " sub/directory/object" + std::to_string(i) + ".o";
  CHECK(place(line) == Place::out);
  CHECK(place(line + " && make") == Place::recursive);
  CHECK(place(line + " && sudo cp libx.so /usr/lib") == Place::home);
}
