# cmake --install build/release [--prefix /usr] [with DESTDIR]: programs, manual, samples of the config files,
# units of systemd. What the samples describe (/etc/hob) is made by `remote cell init` and `remote cell join`.
include(GNUInstallDirs)

install(TARGETS remote hob-cell hob-look pmake RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Where pmake looks, beside itself: ../lib/hob/recipe.
install(TARGETS recipe_shell whole_shell RUNTIME DESTINATION lib/hob/recipe)
install(TARGETS ninja_shell LIBRARY DESTINATION lib/hob/recipe)
# `remote cc`: one program, for launchers and CCACHE_PREFIX; and a directory to put in front of PATH.
install(CODE "
  function(link_to target name)
    get_filename_component(directory \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/\${name}\" DIRECTORY)
    file(MAKE_DIRECTORY \"\${directory}\")
    file(CREATE_LINK \${target} \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/\${name}\" SYMBOLIC)
  endfunction()
  link_to(sh lib/hob/recipe/any)
  link_to(../lib/hob/recipe/whole ${CMAKE_INSTALL_BINDIR}/remote-cc)
  foreach(name ${COMPILER_NAMES})
    link_to(../recipe/whole lib/hob/cc/\${name})
  endforeach()")
install(TARGETS hob-hostd hob-starter hob-coordinator RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(FILES config/hostd.toml.sample config/coordinator.toml.sample README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Below the prefix, where systemd looks too: /usr/lib or /usr/local/lib (systemd.unit(5)). They name the daemons
# without a path, so that they fit either.
install(FILES packaging/hob-hostd.service packaging/hob-coordinator.service DESTINATION lib/systemd/system)

find_program(SCDOC scdoc)
if(SCDOC)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/remote.1
    COMMAND sh -c "'${SCDOC}' <'${CMAKE_SOURCE_DIR}/docs/remote.1.scd' >remote.1"
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
    DEPENDS docs/remote.1.scd VERBATIM)
  add_custom_target(manual ALL DEPENDS ${CMAKE_BINARY_DIR}/remote.1)
  install(FILES ${CMAKE_BINARY_DIR}/remote.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
else()
  message(STATUS "No scdoc: the manual is not built")
endif()
