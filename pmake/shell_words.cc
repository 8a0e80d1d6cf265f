#include <utility>

#include "base/check.h"
#include "pmake/shell_reader.h"

/// The half of ShellReader that makes words, and commands of them.
namespace hob::pmake {

// The word that is being read. Its text is a view as long as nothing is left out of it.

/// The next `count` characters belong to the word as they are.
void ShellReader::keep(size_t count) {
  List& l = list();
  if (l.build == Build::none) l.build = Build::view, l.begin = pos_;
  if (l.build == Build::copy) copy(text_.substr(pos_, count));
  pos_ += count;
}

void ShellReader::copy(std::string_view text) {
  CHECK(line_.unquoted_.size() + text.size() <= line_.unquoted_.capacity());
  line_.unquoted_ += text;
}

/// From here on the word's text differs from what stands in text_.
void ShellReader::to_copy() {
  List& l = list();
  if (l.build == Build::copy || l.build == Build::done) return;
  // Each character is copied once at most, so this is room for all.
  if (line_.unquoted_.capacity() < text_.size()) line_.unquoted_.reserve(text_.size());
  const size_t begin = line_.unquoted_.size();
  if (l.build == Build::view) copy(text_.substr(l.begin, pos_ - l.begin));
  l.build = Build::copy;
  l.begin = begin;
}

void ShellReader::end_known_text() {
  List& l = list();
  l.word.opaque = true;
  if (l.build == Build::view) l.word.text = text_.substr(l.begin, pos_ - l.begin);
  if (l.build == Build::copy) l.word.text = std::string_view(line_.unquoted_).substr(l.begin);
  l.build = Build::done;
}

void ShellReader::end_word() {
  List& l = list();
  if (l.build == Build::none) return;
  const bool opaque = l.word.opaque;
  end_known_text();
  l.word.opaque = opaque;
  l.build = Build::none;
  Word word = std::exchange(l.word, {});
  const bool bare = !word.quoted && !word.opaque;
  const Target target = std::exchange(l.target, Target::none);
  if (target == Target::here || target == Target::here_tabs) {
    heres_.push_back({word.text, target == Target::here_tabs});
    line_.beyond_ = true;
  } else if (target != Target::none) {
    l.command.redirections.push_back({word, target == Target::input});
  } else if (l.pattern) {
    if (bare && word.text == "esac") l.pattern = false, l.cases -= l.cases > 0;
  } else if (l.head == Head::subject) {
    l.head = Head::in;
  } else if (l.head == Head::in) {
    l.head = Head::none;
    l.pattern = true;
    ++l.cases;
  } else if (l.head == Head::name) {
    l.head = Head::none;
  } else if (l.data) {
    return;
  } else if (l.command.words.empty()) {
    const bool first = l.command.assignments.empty() && l.command.redirections.empty();
    if (first && bare && reserved(word.text)) return;
    (word.assignment ? l.command.assignments : l.command.words).push_back(word);
  } else {
    l.command.words.push_back(word);
  }
}

/// Whether `word`, where a command begins, is a word of the grammar.
bool ShellReader::reserved(std::string_view word) {
  List& l = list();
  if (word == "while" || word == "until" || word == "do" || word == "done") {
    line_.beyond_ = true;
  } else if (word == "for" || word == "select") {
    line_.beyond_ = true;
    l.data = true;
  } else if (word == "function") {
    line_.beyond_ = true;
    l.head = Head::name;
  } else if (word == "case") {
    l.head = Head::subject;
  } else if (word == "esac") {
    l.cases -= l.cases > 0;
  } else {
    return word == "if" || word == "then" || word == "elif" || word == "else" || word == "fi" ||
           word == "!" || word == "{" || word == "}";
  }
  return true;
}

void ShellReader::end_command() {
  end_word();
  List& l = list();
  l.target = Target::none;
  l.data = false;
  Command command = std::exchange(l.command, {});
  command.group = l.group;
  if (!command.words.empty() || !command.assignments.empty() || !command.redirections.empty())
    line_.commands_.push_back(std::move(command));
}

}  // namespace hob::pmake
