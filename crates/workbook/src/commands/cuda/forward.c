/* What cudarc 0.9.15 links with, looked up when a program starts instead.
 *
 * Linked with NVIDIA's libraries, a program would not even start on a machine without a driver. This
 * archive takes their place: each function jumps to the library's own, or, where there is none, to one
 * that returns an error. It is linked into the program, which then starts everywhere.
 *
 * The lists are those of cudarc's `driver::result`, `cublas::result` and `nvrtc::result`, and what the
 * kernels call besides.
 */
#include <dlfcn.h>

#ifndef __x86_64__
#error "written for x86-64"
#endif

#define DRIVER(F)                                                                                      \
    F(cuCtxGetCurrent) F(cuCtxSetCurrent) F(cuDestroyExternalMemory) F(cuDeviceGet)                    \
    F(cuDeviceGetAttribute) F(cuDeviceGetCount) F(cuDevicePrimaryCtxRelease_v2)                        \
    F(cuDevicePrimaryCtxRetain) F(cuDeviceTotalMem_v2) F(cuEventCreate) F(cuEventDestroy_v2)           \
    F(cuEventElapsedTime) F(cuEventRecord) F(cuExternalMemoryGetMappedBuffer) F(cuFuncSetAttribute)    \
    F(cuGraphDestroy) F(cuGraphExecDestroy) F(cuGraphInstantiateWithFlags) F(cuGraphLaunch)            \
    F(cuImportExternalMemory) F(cuInit) F(cuLaunchCooperativeKernel) F(cuLaunchKernel)                 \
    F(cuMemAllocAsync) F(cuMemAlloc_v2) F(cuMemFreeAsync) F(cuMemFree_v2) F(cuMemGetInfo_v2)           \
    F(cuMemcpyDtoDAsync_v2) F(cuMemcpyDtoD_v2) F(cuMemcpyDtoHAsync_v2) F(cuMemcpyDtoH_v2)              \
    F(cuMemcpyHtoDAsync_v2) F(cuMemcpyHtoD_v2) F(cuMemsetD8Async) F(cuMemsetD8_v2)                     \
    F(cuModuleGetFunction) F(cuModuleLoad) F(cuModuleLoadData) F(cuModuleUnload)                       \
    F(cuOccupancyAvailableDynamicSMemPerBlock) F(cuOccupancyMaxActiveBlocksPerMultiprocessor)          \
    F(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags) F(cuOccupancyMaxActiveClusters)            \
    F(cuOccupancyMaxPotentialBlockSize) F(cuOccupancyMaxPotentialBlockSizeWithFlags)                   \
    F(cuOccupancyMaxPotentialClusterSize) F(cuProfilerStart) F(cuProfilerStop)                         \
    F(cuStreamBeginCapture_v2) F(cuStreamCreate) F(cuStreamDestroy_v2) F(cuStreamEndCapture)           \
    F(cuStreamSynchronize) F(cuStreamWaitEvent)

/* What an error is called; asked for without a driver, too. */
#define DRIVER_TEXTS(F) F(cuGetErrorName) F(cuGetErrorString)

#define CUBLAS(F)                                                                                      \
    F(cublasCreate_v2) F(cublasDestroy_v2) F(cublasSetMathMode) F(cublasSetStream_v2)                  \
    F(cublasSetWorkspace_v2) F(cublasSgemv_v2) F(cublasDgemv_v2) F(cublasSgemm_v2) F(cublasDgemm_v2)   \
    F(cublasGemmEx) F(cublasSgemmStridedBatched) F(cublasDgemmStridedBatched)                          \
    F(cublasGemmStridedBatchedEx)

#define NVRTC(F)                                                                                       \
    F(nvrtcCreateProgram) F(nvrtcCompileProgram) F(nvrtcDestroyProgram) F(nvrtcGetPTX)                 \
    F(nvrtcGetPTXSize) F(nvrtcGetProgramLog) F(nvrtcGetProgramLogSize)

/* Without the library. Of the driver the error says just that: CUDA_ERROR_STUB_LIBRARY. */
static int no_driver(void) { return 34; }
static int no_text(int error, const char **text)
{
    (void)error;
    *text = "there is no NVIDIA driver";
    return 0;
}
static int no_cublas(void) { return 1; } /* CUBLAS_STATUS_NOT_INITIALIZED */
static int no_nvrtc(void) { return 7; }  /* NVRTC_ERROR_BUILTIN_OPERATION_FAILURE */

/* The function itself, in one instruction that leaves every argument where it is. Hidden, so that no
 * library that is loaded later finds it instead of its own. */
#define FORWARD(name, otherwise)                                                                       \
    static void *to_##name __attribute__((used)) = (void *)otherwise;                                  \
    __asm__(".pushsection .text\n.globl " #name "\n.hidden " #name "\n.type " #name ", @function\n"    \
            #name ": jmp *to_" #name "(%rip)\n.size " #name ", . - " #name "\n.popsection");
#define FORWARD_DRIVER(name) FORWARD(name, no_driver)
#define FORWARD_TEXT(name) FORWARD(name, no_text)
#define FORWARD_CUBLAS(name) FORWARD(name, no_cublas)
#define FORWARD_NVRTC(name) FORWARD(name, no_nvrtc)
DRIVER(FORWARD_DRIVER)
DRIVER_TEXTS(FORWARD_TEXT)
CUBLAS(FORWARD_CUBLAS)
NVRTC(FORWARD_NVRTC)

static void *open_first(const char *const *names)
{
    void *library = 0;
    for (; *names && !library; names++)
        library = dlopen(*names, RTLD_LAZY | RTLD_LOCAL);
    return library;
}

__attribute__((constructor)) static void find(void)
{
    static const char *const driver[] = {"libcuda.so.1", 0};
    static const char *const cublas[] = {"libcublas.so.13", "libcublas.so.12", 0};
    static const char *const nvrtc[] = {"libnvrtc.so.13", "libnvrtc.so.12", 0};
    void *library, *function;
#define FIND(name)                                                                                     \
    if ((function = dlsym(library, #name)))                                                            \
        to_##name = function;
    if (!(library = open_first(driver)))
        return;
    DRIVER(FIND)
    DRIVER_TEXTS(FIND)
    if ((library = open_first(cublas))) {
        CUBLAS(FIND)
    }
    if ((library = open_first(nvrtc))) {
        NVRTC(FIND)
    }
}
