# How this project compiles: warnings are errors, one static library per folder, tests found by Catch2.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Catch2 2 REQUIRED)
include(Catch)

add_library(hob_flags INTERFACE)
target_compile_options(hob_flags INTERFACE -Wall -Wextra -Wconversion -Werror -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # With optimisation GCC 12 takes a string that is moved out of a std::variant (Result) for
  # uninitialised.
  target_compile_options(hob_flags INTERFACE -Wno-maybe-uninitialized)
endif()
target_include_directories(hob_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_definitions(hob_flags INTERFACE _GNU_SOURCE HOB_VERSION="${PROJECT_VERSION}")
if(HOB_SANITIZE)
  target_compile_options(hob_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  target_link_options(hob_flags INTERFACE -fsanitize=address,undefined)
endif()
if(HOB_FUZZ)
  target_compile_options(hob_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined)
  target_link_options(hob_flags INTERFACE -fsanitize=address,undefined)
endif()

# hob_library(NAME SOURCES... LINK libs...): the static library of one folder.
function(hob_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(hob_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(hob_${name} PUBLIC hob_flags ${ARG_LINK})
endfunction()

# hob_embed(TARGET FILE): the bytes of a text file of this folder as part of TARGET. report.css of folder pmake is
# hob::embedded::report_css, a std::string_view, for who includes "pmake/report.css.h".
function(hob_embed target file)
  string(MAKE_C_IDENTIFIER ${file} name)
  set(header ${CMAKE_CURRENT_BINARY_DIR}/${file}.h)
  add_custom_command(OUTPUT ${header}
    COMMAND ${CMAKE_COMMAND} -D INPUT=${CMAKE_CURRENT_SOURCE_DIR}/${file} -D OUTPUT=${header} -D NAME=${name}
      -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(${target} PRIVATE ${header})
endfunction()

# hob_static(TARGET): no shared library to load. A program that is started once per job pays for each
# shared library on every start (about 0.2 ms each; `scripts/bench latency` shows the sum).
function(hob_static target)
  if(NOT HOB_SANITIZE AND NOT HOB_FUZZ)
    target_link_options(${target} PRIVATE -static)
  endif()
endfunction()

# hob_test(NAME SOURCES... LINK libs... [TIMEOUT s] [LABEL l] [ALONE]): one Catch2 program. Its cases are registered
# one by one, each with a time limit; a case that prints "SKIP:" counts as skipped. ALONE: they change something of the
# machine, and no other test runs beside them.
function(hob_test name)
  cmake_parse_arguments(ARG "ALONE" "TIMEOUT;LABEL" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 20)
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL quick)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE hob_flags ${ARG_LINK} Catch2::Catch2WithMain)
  catch_discover_tests(${name}
    TEST_PREFIX "${name}: "
    PROPERTIES SKIP_REGULAR_EXPRESSION "SKIP:" TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABEL}" RUN_SERIAL ${ARG_ALONE})
endfunction()
