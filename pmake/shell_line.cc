#include "pmake/shell_line.h"

#include <algorithm>
#include <array>
#include <utility>

#include "pmake/shell_reader.h"

namespace hob::pmake {
namespace {

constexpr bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}

/// Characters that a word outside of quotes may hold and that mean themselves.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  plain.fill(true);
  for (const char c : std::string_view(" \t\n;&|()<>#`\"'\\$*?[{~="))
    plain[static_cast<unsigned char>(c)] = false;
  return plain;
}();

bool is_assignment_name(std::string_view text) {
  if (text.ends_with('+')) text.remove_suffix(1);
  return !text.empty() && is_name_start(text[0]) &&
         std::all_of(text.begin(), text.end(), is_name_part);
}

}  // namespace

ShellLine::ShellLine(std::string_view text) {
  ShellReader(text, *this).read();
}

void ShellReader::read() {
  while (pos_ < text_.size() && open_.size() <= ShellLine::kDeepest) {
    switch (open_.back().frame) {
      case Frame::quote:
        in_quote();
        break;
      case Frame::parameter:
      case Frame::arithmetic:
        in_expression();
        break;
      default:
        in_list();
    }
  }
  if (pos_ < text_.size() || open_.size() > 1) line_.beyond_ = true;
  while (!open_.empty()) close();
}

void ShellReader::open(Frame frame) {
  if (frame == Frame::backquote) backquote_ = open_.size();
  open_.push_back({frame});
  if (!holds_commands(frame)) return;
  lists_.emplace_back();
  list().group = groups_++;
}

void ShellReader::close() {
  const Frame frame = open_.back().frame;
  if (holds_commands(frame)) {
    end_command();
    lists_.pop_back();
  }
  open_.pop_back();
  if (frame == Frame::backquote) backquote_ = 0;
}

// --- What a character means, by what is open.

void ShellReader::in_list() {
  const char c = text_[pos_];
  if (kPlain[static_cast<unsigned char>(c)]) {
    size_t end = pos_ + 1;
    while (end < text_.size() && kPlain[static_cast<unsigned char>(text_[end])]) ++end;
    return keep(end - pos_);
  }
  switch (c) {
    case ' ':
    case '\t':
      end_word(), ++pos_;
      break;
    case '\n':
      end_command(), ++pos_;
      here_documents();
      break;
    case ';':
      end_command(), ++pos_;
      if (at(pos_) == ';') ++pos_, list().pattern = list().cases > 0;
      break;
    case '&':
      if (at(pos_ + 1) == '>') return end_word(), ++pos_, redirection();
      end_command(), ++pos_;
      if (at(pos_) == '&')
        ++pos_;
      else
        line_.background_ = true;
      break;
    case '|':
      end_command(), ++pos_;
      if (at(pos_) == '|' || at(pos_) == '&') ++pos_;
      break;
    case '(':
      parenthesis();
      break;
    case ')':
      close_parenthesis();
      break;
    case '<':
    case '>':
      redirection();
      break;
    case '#':
      if (list().build == Build::none)
        comment();
      else
        keep(1);
      break;
    case '`':
      backquote();
      break;
    case '"':
      to_copy(), ++pos_;
      list().word.quoted = true;
      open(Frame::quote);
      break;
    case '\'':
      single_quotes();
      break;
    case '\\':
      backslash();
      break;
    case '$':
      dollar();
      break;
    case '=': {
      List& l = list();
      if (l.build == Build::view && !l.word.assignment && !l.word.opaque)
        l.word.assignment = is_assignment_name(text_.substr(l.begin, pos_ - l.begin));
      // A second '=' is a part of the value, or of what is no assignment.
      size_t end = pos_ + 1;
      while (end < text_.size() &&
             (kPlain[static_cast<unsigned char>(text_[end])] || text_[end] == '='))
        ++end;
      keep(end - pos_);
      break;
    }
    case '[':
    case '~':
    case '{': {
      // "[" and "{" alone are a command and a word of the grammar; "~" is one's home only in front.
      const char next = at(pos_ + 1);
      const bool alone = next == '\0' || next == ' ' || next == '\t' || next == '\n';
      if (c == '~' ? list().build == Build::none : !alone) list().word.opaque = true;
      keep(1);
      break;
    }
    default:  // * and ?
      list().word.opaque = true;
      keep(1);
  }
}

void ShellReader::in_quote() {
  const size_t end = std::min(text_.find_first_of("\"\\$`", pos_), text_.size());
  if (end > pos_) return keep(end - pos_);
  switch (text_[pos_]) {
    case '"':
      ++pos_;
      close();
      break;
    case '$':
      dollar();
      break;
    case '`':
      backquote();
      break;
    default:
      if (std::string_view("\"\\$`\n").find(at(pos_ + 1)) == std::string_view::npos)
        keep(1);
      else
        backslash();
  }
}

/// ${...} or $((...)): only quotes and what is nested count.
void ShellReader::in_expression() {
  const bool inside_quotes = open_[open_.size() - 2].frame == Frame::quote;
  Open& here = open_.back();
  switch (text_[pos_]) {
    case '"':
      ++pos_;
      open(Frame::quote);
      break;
    case '\'':
      if (inside_quotes)
        ++pos_;
      else
        single_quotes();
      break;
    case '\\':
      pos_ = std::min(pos_ + 2, text_.size());
      break;
    case '$':
      dollar();
      break;
    case '`':
      backquote();
      break;
    case '}':
      ++pos_;
      if (here.frame == Frame::parameter) close();
      break;
    case '(':
      ++pos_, ++here.parens;
      break;
    case ')':
      ++pos_;
      if (here.frame == Frame::parameter) break;
      if (here.parens > 0) {
        --here.parens;
        break;
      }
      // "$((a) | (b))" is a substitution that begins with a subshell: its commands are not known.
      if (at(pos_) == ')')
        ++pos_;
      else
        line_.beyond_ = true;
      close();
      break;
    default:
      ++pos_;
  }
}

void ShellReader::single_quotes() {
  to_copy();
  list().word.quoted = true;
  const size_t end = text_.find('\'', pos_ + 1);
  if (end == std::string_view::npos) line_.beyond_ = true;
  ++pos_;
  keep(std::min(end, text_.size()) - pos_);
  pos_ = std::min(pos_ + 1, text_.size());
}

void ShellReader::backslash() {
  if (at(pos_ + 1) == '\n') {
    if (list().build != Build::none) to_copy();
    pos_ += 2;
    return;
  }
  if (at(pos_ + 1) == '`' && backquote_ != 0) line_.beyond_ = true;  // a substitution in another
  to_copy();
  list().word.quoted = true;
  if (pos_ + 1 < text_.size()) ++pos_;
  keep(1);
}

void ShellReader::dollar() {
  const char next = at(pos_ + 1);
  if (next == '(') {
    end_known_text();
    pos_ += 2;
    const bool arithmetic = at(pos_) == '(';
    pos_ += arithmetic;
    return open(arithmetic ? Frame::arithmetic : Frame::substitution);
  }
  size_t end = pos_ + 1 + (next == '{');
  const size_t name = end;
  if (is_name_start(at(end))) {
    while (is_name_part(at(end))) ++end;
  } else if (next != '\0' &&
             std::string_view("0123456789@*#?-$!").find(next) != std::string::npos) {
    ++end;
  }
  if (next == '{') {
    if (at(end) != '}' || end == name) {
      end_known_text();
      pos_ = name;
      return open(Frame::parameter);
    }
    // "${NAME}" reads as "$NAME".
    to_copy();
    list().word.opaque = true;
    if (list().build == Build::copy) copy("$"), copy(text_.substr(name, end - name));
    pos_ = end + 1;
    return;
  }
  if (end > name) list().word.opaque = true;
  keep(end - pos_);
}

void ShellReader::backquote() {
  if (backquote_ == 0) {
    end_known_text();
    ++pos_;
    return open(Frame::backquote);
  }
  while (open_.size() - 1 > backquote_) {
    line_.beyond_ = true;  // quotes or parentheses that end outside: no shell takes this
    close();
  }
  close();
  ++pos_;
}

void ShellReader::parenthesis() {
  List& l = list();
  ++pos_;
  if (l.pattern) return end_word();
  if (l.build == Build::none && l.command.words.empty()) return open(Frame::subshell);
  line_.beyond_ = true;
  end_word();
  const size_t next = text_.find_first_not_of(" \t", pos_);
  if (next != std::string_view::npos && text_[next] == ')') {  // "name() ...": a function
    l.command = {};
    pos_ = next + 1;
    return;
  }
  end_command();  // an array, or no shell language
  open(Frame::subshell);
}

void ShellReader::close_parenthesis() {
  if (list().pattern) {
    end_word();
    list().pattern = false;
    ++pos_;
    return;
  }
  end_command();
  ++pos_;
  const Frame frame = open_.back().frame;
  if (frame == Frame::subshell || frame == Frame::substitution)
    close();
  else
    line_.beyond_ = true;
}

void ShellReader::redirection() {
  List& l = list();
  const std::string_view before =
      l.build == Build::view ? text_.substr(l.begin, pos_ - l.begin) : std::string_view{};
  // "2>file": a descriptor's number, no word.
  const bool number = !before.empty() && std::all_of(before.begin(), before.end(), is_digit);
  if (number)
    l.build = Build::none, l.word = {};
  else
    end_word();
  const bool input = text_[pos_] == '<';
  ++pos_;
  l.target = input ? Target::input : Target::output;
  const char next = at(pos_);
  if (next == '(') {  // bash's <(command): the command writes or reads instead of a file
    end_known_text();
    ++pos_;
    return open(Frame::substitution);
  }
  if (next == '<' && input) {
    ++pos_;
    if (at(pos_) == '<') {  // a word as input
      l.target = Target::output;
    } else {
      l.target = at(pos_) == '-' ? Target::here_tabs : Target::here;
      pos_ += l.target == Target::here_tabs;
      return;
    }
  }
  if (next == '&') l.target = Target::output;  // the word is a descriptor's number, nothing is read
  if (next == '>' || next == '&' || next == '|' || next == '<') ++pos_;
}

/// Behind the end of a line: the texts whose ends were named in it.
void ShellReader::here_documents() {
  for (const Here& here : std::exchange(heres_, {})) {
    while (pos_ < text_.size()) {
      const size_t end = std::min(text_.find('\n', pos_), text_.size());
      std::string_view row = text_.substr(pos_, end - pos_);
      if (here.tabs) row.remove_prefix(std::min(row.find_first_not_of('\t'), row.size()));
      pos_ = std::min(end + 1, text_.size());
      if (row == here.end) break;
    }
  }
}

void ShellReader::comment() {
  pos_ = std::min(text_.find_first_of(backquote_ != 0 ? "\n`" : "\n", pos_), text_.size());
}

}  // namespace hob::pmake
