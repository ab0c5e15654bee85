# Finds the Halide that PyPI's wheel installed into the Python that runs this build: the one given as Python_EXECUTABLE
# (pip gives it), else .venv's, else PATH's. Afterwards Python_EXECUTABLE names that Python for all who need it.
# The cache entry has a name of its own: Python_EXECUTABLE there would decide what find_package(Python) finds in the whole of a project that
# has muattn as a part.
if(NOT Python_EXECUTABLE)
  find_program(MUATTN_PYTHON_EXECUTABLE NAMES python3 python HINTS "${PROJECT_SOURCE_DIR}/.venv/bin")
  set(Python_EXECUTABLE "${MUATTN_PYTHON_EXECUTABLE}")
endif()
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c "import importlib.util as u; print(*u.find_spec('halide').submodule_search_locations)"
  OUTPUT_VARIABLE _muattn_halide OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(_muattn_halide)
  list(PREPEND CMAKE_PREFIX_PATH "${_muattn_halide}/lib64/cmake")
endif()
# The wheel's Python component would ask for Python headers that nothing here needs.
set(CMAKE_DISABLE_FIND_PACKAGE_Halide_Python TRUE)
find_package(HalideHelpers REQUIRED)
if(NOT CMAKE_CROSSCOMPILING)
  find_package(Halide 21 REQUIRED COMPONENTS shared)
endif()
