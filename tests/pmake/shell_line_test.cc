#include "pmake/shell_line.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace hob::pmake;

namespace {

/// Each command's words, joined by '|'; opaque ones have a '$' behind them.
std::vector<std::string> read(std::string_view text) {
  const ShellLine line(text);
  std::vector<std::string> commands;
  for (const Command& command : line.commands()) {
    std::string& written = commands.emplace_back();
    for (const Word& word : command.assignments) written.append(word.text) += '|';
    if (!written.empty()) written.back() = ' ';
    for (const Word& word : command.words)
      written.append(word.text).append(word.opaque ? "$" : "") += '|';
    if (written.ends_with('|')) written.pop_back();
    for (const Redirection& r : command.redirections)
      written.append(r.input ? " <" : " >").append(r.target.text);
  }
  return commands;
}
using Commands = std::vector<std::string>;

bool beyond(std::string_view text) {
  return ShellLine(text).beyond();
}

}  // namespace

TEST_CASE("operators end commands") {
  CHECK(read("a b;c&&d||e|f & g\nh") == Commands{"a|b", "c", "d", "e", "f", "g", "h"});
  CHECK(read("(a;b);{ c; d; };! e") == Commands{"a", "b", "c", "d", "e"});
  CHECK(read("a \\\n b\\\nc") == Commands{"a|bc"});
  CHECK(read(" ;; ; ").empty());
}

TEST_CASE("quotes and backslashes are taken off") {
  CHECK(read(R"(a 'b c' "d \" \$ \x" e\ f 'it'\''s' "" '')") ==
        Commands{R"(a|b c|d " $ \x|e f|it's||)"});
  CHECK(read(R"("a;b" 'c&d' e\;f "#" \#g)") == Commands{"a;b|c&d|e;f|#|#g"});
  CHECK(read("a #b c\nd#e #") == Commands{"a", "d#e"});
}

TEST_CASE("assignments and redirections are apart from words") {
  CHECK(read("A=1 B+=2 'C'=3 D=4") == Commands{"A=1|B+=2 C=3|D=4"});
  CHECK(read("A=1") == Commands{"A=1 "});
  CHECK(read("a>b <c 2>d 2>&1 >>e >|f 3<>g h2>i") == Commands{"a|h2 >b <c >d >1 >e >f <g >i"});
  CHECK(read("a &>b") == Commands{"a >b"});
  CHECK(read("> a") == Commands{" >a"});
  CHECK_FALSE(ShellLine("a 2>&1").background());
  CHECK(ShellLine("a 2>&1 &").background());
}

TEST_CASE("expansions make a word opaque, and the commands in them count") {
  CHECK(read("a $b ${c}d ${e:-f g} *.c ~/x a~b $ [ {} ]") ==
        Commands{"a|$b$|$cd$|$|*.c$|~/x$|a~b|$|[|{}$|]"});
  CHECK(read("a x$(b c)y \"z`d`\" e") == Commands{"b|c", "d", "a|x$|z$|e"});
  CHECK(read("a \"$(b \"$(c \"d e\")\")\"") == Commands{"c|d e", "b|$", "a|$"});
  CHECK(read("a ${b:-$(c \"}\")}") == Commands{"c|}", "a|$"});
  CHECK(read("a \"${b:-it's}\" c") == Commands{"a|$|c"});
  CHECK(read("a $((1 + (2)*3)) b") == Commands{"a|$|b"});
  CHECK(read("a <(b) c") == Commands{"b", "a|c <"});
}

TEST_CASE("words of the grammar are no commands") {
  CHECK(read("if a; then b; elif c; then d; else e; fi") == Commands{"a", "b", "c", "d", "e"});
  CHECK(read("for x in a b c; do d $x; done >e") == Commands{"d|$x$", " >e"});
  CHECK(read("while a; do b; done | c") == Commands{"a", "b", "c"});
  CHECK(read("case $x in a|b) c;; (d) case e in f) g; esac;; *) h; esac; i") ==
        Commands{"c", "g", "h", "i"});
  CHECK(read("case x in\n a) b\n ;;\nesac\nc") == Commands{"b", "c"});
  CHECK(read("f() { a; }; function g { b; }; f") == Commands{"a", "b", "f"});
  CHECK(read("'if' a; echo then fi") == Commands{"if|a", "echo|then|fi"});
}

TEST_CASE("here-documents are passed over") {
  CHECK(read("cat <<E | a; b\nmake\nE\nc") == Commands{"cat", "a", "b", "c"});
  CHECK(read("cat <<-'E F' <<G\nx\n\tE F\ny\nG\nc") == Commands{"cat", "c"});
  CHECK(read("cat <<E\nmake\n") == Commands{"cat"});
  CHECK(read("cat <<<make; a") == Commands{"cat >make", "a"});
}

TEST_CASE("what is beyond this reader says so") {
  for (const char* text :
       {"for x in a; do b; done", "while a; do b; done", "until a; do b; done", "f() { a; }",
        "function f { a; }", "a <<E\nE", "x=(a b)", "a 'b", "a \"b", "a $(b", "a `b", "a)", "(a",
        "a ${b", "a `b \\`c\\``", "a $((b) | c)"}) {
    INFO(text);
    CHECK(beyond(text));
  }
  for (const char* text : {"", "a", "if a; then b; fi", "case a in b) c;; esac",
                           "a $(b) `c` ${d:-e} $((1))", "(a; { b; }) | c", "a \"b 'c\" '\"'"}) {
    INFO(text);
    CHECK_FALSE(beyond(text));
  }
  CHECK_FALSE(beyond(std::string(ShellLine::kDeepest - 1, '(') +
                     std::string(ShellLine::kDeepest - 1, ')')));
  CHECK(beyond(std::string(ShellLine::kDeepest, '(') + std::string(ShellLine::kDeepest, ')')));
}
