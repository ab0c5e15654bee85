# Finds the Halide that PyPI's wheel installed into .venv (or into the Python that runs this build).
file(GLOB _muattn_halide
  "${PROJECT_SOURCE_DIR}/.venv/lib*/python3*/site-packages/halide/lib64/cmake")
list(PREPEND CMAKE_PREFIX_PATH ${_muattn_halide})
# The wheel's Python component would ask for Python headers that nothing here needs.
set(CMAKE_DISABLE_FIND_PACKAGE_Halide_Python TRUE)
find_package(HalideHelpers REQUIRED)
if(NOT CMAKE_CROSSCOMPILING)
  find_package(Halide 21 REQUIRED COMPONENTS shared)
endif()
