# The Debian packages that QLLaMA needs: this list is the only one. Sourced by run.sh and test.sh;
# names are Debian 12's.

build_packages=(
    cmake g++ ninja-build pkg-config
    libhwy-dev                # SIMD kernels
    libqcustomplot-dev        # speed graph
    libquazip1-qt6-dev        # the zip directory of a checkpoint
    libsentencepiece-dev
    ocl-icd-opencl-dev opencl-clhpp-headers
    qt6-base-dev qt6-svg-dev
    libgl1-mesa-dev           # qt6-base-dev's CMake files look for it
    qt6-l10n-tools qt6-tools-dev qt6-tools-dev-tools  # translations
    zlib1g-dev
)

run_packages=(
    fonts-dejavu-core
    libqt6sql6-sqlite
    libqt6svg6                # icons
    qt6-wayland
)

test_packages=(
    clang-15                  # warns about OpenCL kernels; comes with PoCL
    clang-format
    imagemagick xauth xdotool xvfb  # a real window, driven and looked at
    libopenblas0-pthread      # the fast BLAS for torch
    mesa-opencl-icd           # rusticl, a second OpenCL implementation
    oclgrind                  # checks the OpenCL kernels for errors
    pocl-opencl-icd           # an OpenCL device on any machine
    python3-numpy python3-sentencepiece python3-torch
    valgrind                  # finds what OpenCL kernels read but nothing wrote
)
