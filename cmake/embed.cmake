# Makes a text file part of a program: cmake -D INPUT=file -D OUTPUT=header -D NAME=name -P embed.cmake writes a
# header in which hob::embedded::NAME is a std::string_view of the file's bytes. hob_embed() calls it (hob.cmake).
file(READ "${INPUT}" text)
string(FIND "${text}" ")hob_text\"" inside)
if(NOT inside EQUAL -1)
  message(FATAL_ERROR "embed ${INPUT}: it holds the end mark of the literal; choose another in cmake/embed.cmake")
endif()
file(WRITE "${OUTPUT}" "// Made from ${INPUT} by cmake/embed.cmake.
#pragma once

#include <string_view>

namespace hob::embedded {
inline constexpr std::string_view ${NAME} = R\"hob_text(${text})hob_text\";
}  // namespace hob::embedded
")
