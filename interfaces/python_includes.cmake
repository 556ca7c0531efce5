# The target exports the include folders of this machine's Python and NumPy. Packages that depend on
# this one do not need them, and CMake refuses to install paths inside of the clone.
set(PY_TARGET ${PROJECT_NAME}__rosidl_generator_py)
get_target_property(PY_INCLUDES ${PY_TARGET} INTERFACE_INCLUDE_DIRECTORIES)
if(PY_INCLUDES)
  set_target_properties(${PY_TARGET} PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "$<BUILD_INTERFACE:${PY_INCLUDES}>")
endif()
