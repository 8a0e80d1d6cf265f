#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "pmake/shell_line.h"

/// How ShellLine reads. Of no use to others.
namespace hob::pmake {

/// A stack machine over the characters: what is open (quotes, substitutions, subshells) is a stack
/// of frames, and those of them that hold commands have a list each. One pass, no way back.
class ShellReader {
 public:
  ShellReader(std::string_view text, ShellLine& line) : text_(text), line_(line) {
    open(Frame::list);
  }
  void read();

 private:
  enum class Frame { list, subshell, substitution, backquote, quote, parameter, arithmetic };
  struct Open {
    Frame frame;
    size_t parens = 0;  // arithmetic: those inside of it
  };
  enum class Build { none, view, copy, done };  // done: a substitution has ended the known text
  enum class Target { none, input, output, here, here_tabs };
  enum class Head { none, subject, in, name };
  /// Where reading stands in the commands of one frame.
  struct List {
    Command command;
    Word word;
    Build build = Build::none;
    size_t begin = 0;  // of the word: in text_ (view) or in unquoted_ (copy)
    Target target = Target::none;
    Head head = Head::none;  // what comes next in "case SUBJECT in", "function NAME"
    bool pattern = false;    // between "in" or ";;" and ")"
    bool data = false;       // the words are no command: "for x in a b"
    size_t cases = 0;
    uint32_t group = 0;
  };
  struct Here {
    std::string_view end;
    bool tabs = false;
  };

  List& list() { return lists_.back(); }
  char at(size_t pos) const { return pos < text_.size() ? text_[pos] : '\0'; }
  bool holds_commands(Frame f) const { return f <= Frame::backquote; }

  void open(Frame frame);
  void close();
  void in_list();
  void in_quote();
  void in_expression();

  void keep(size_t count);
  void copy(std::string_view text);
  void to_copy();
  void end_known_text();
  void end_word();
  bool reserved(std::string_view word);
  void end_command();

  void single_quotes();
  void dollar();
  void backquote();
  void backslash();
  void parenthesis();
  void close_parenthesis();
  void redirection();
  void here_documents();
  void comment();

  std::string_view text_;
  ShellLine& line_;
  size_t pos_ = 0;
  std::vector<Open> open_;
  std::vector<List> lists_;
  std::vector<Here> heres_;
  size_t backquote_ = 0;  // place of the open one in open_; 0: none. An inner one would be escaped
  uint32_t groups_ = 0;
};

}  // namespace hob::pmake
