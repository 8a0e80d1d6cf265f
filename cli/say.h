#pragma once

#include <string>
#include <string_view>

namespace hob::cli {

/// Whose lines they are: "remote", until it is set.
void say_as(std::string_view program);

/// One line of ours to stderr, "remote: TEXT". What the command or a peer had a hand in is printed
/// with control characters replaced, so that nobody writes to the user's terminal through our
/// messages.
void say(std::string_view text);

/// A line of ours that the next one takes the place of, without a prefix; empty: it goes away. For
/// a terminal alone.
void say_over(std::string_view text);

/// Whether the terminal is raw, so that a new line needs its carriage return.
void say_to_raw_terminal(bool raw);

/// `text` with control characters replaced by '?'.
std::string printable(std::string_view text);

}  // namespace hob::cli
