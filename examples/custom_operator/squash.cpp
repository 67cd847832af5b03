// The operator example::squash(x, scale) = scale * x / (1 + |x|) for ONNX Runtime, as a shared library:
//
//     g++ -O2 -std=c++17 -shared -fPIC squash.cpp -o libsquash.so
//
// ONNX Runtime's Python wheel has no headers, so what this file uses of its C interface is declared here. That
// interface is a table of functions that only ever grows at its end, so the places of the first ones are fixed; all
// used here are of version 1. With an SDK of ONNX Runtime, include onnxruntime_cxx_api.h and use its names instead.

#include <cmath>
#include <cstddef>
#include <cstdint>

struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtValue;
struct OrtTensorInfo;

namespace {

struct ApiBase {
  const void* const* (*GetApi)(uint32_t version);
};

constexpr uint32_t kVersion = 1;
constexpr int32_t kRequired = 0;  // INPUT_OUTPUT_REQUIRED
constexpr int32_t kFloat = 1;  // ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT

enum Place {
  kCreateCustomOpDomain = 26,
  kCustomOpDomainAdd = 27,
  kAddCustomOpDomain = 28,
  kGetTensorMutableData = 51,
  kGetDimensionsCount = 61,
  kGetDimensions = 62,
  kGetTensorTypeAndShape = 65,
  kKernelInfoGetAttributeFloat = 85,
  kKernelContextGetInput = 90,
  kKernelContextGetOutput = 91,
  kReleaseStatus = 93,
  kReleaseTensorTypeAndShapeInfo = 99,
};

using Table = const void* const*;

template <typename Result = OrtStatus*, typename... Arguments>
Result Call(Table api, Place place, Arguments... arguments) {
  return reinterpret_cast<Result (*)(Arguments...)>(const_cast<void*>(api[place]))(arguments...);
}

// What ONNX Runtime asks an operator for; of one whose version is 1, nothing further.
struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, Table, const OrtKernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  int32_t (*GetInputType)(const CustomOp*, size_t);
  size_t (*GetInputTypeCount)(const CustomOp*);
  int32_t (*GetOutputType)(const CustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int32_t (*GetInputCharacteristic)(const CustomOp*, size_t);
  int32_t (*GetOutputCharacteristic)(const CustomOp*, size_t);
};

struct Kernel {
  Table api;
  float scale;
};

void Compute(void* self, OrtKernelContext* context) {
  const Kernel& kernel = *static_cast<Kernel*>(self);
  const OrtValue* input = nullptr;
  OrtValue* output = nullptr;
  OrtTensorInfo* info = nullptr;
  size_t rank = 0, count = 1;
  int64_t sizes[16];
  float *from = nullptr, *to = nullptr;
  Call(kernel.api, kKernelContextGetInput, static_cast<const OrtKernelContext*>(context), size_t{0}, &input);
  Call(kernel.api, kGetTensorTypeAndShape, input, &info);
  Call(kernel.api, kGetDimensionsCount, static_cast<const OrtTensorInfo*>(info), &rank);
  if (rank > 16) rank = 16;
  Call(kernel.api, kGetDimensions, static_cast<const OrtTensorInfo*>(info), &sizes[0], rank);
  Call<void>(kernel.api, kReleaseTensorTypeAndShapeInfo, info);
  Call(kernel.api, kKernelContextGetOutput, context, size_t{0}, static_cast<const int64_t*>(sizes), rank, &output);
  Call(kernel.api, kGetTensorMutableData, const_cast<OrtValue*>(input), reinterpret_cast<void**>(&from));
  Call(kernel.api, kGetTensorMutableData, output, reinterpret_cast<void**>(&to));
  for (size_t axis = 0; axis < rank; ++axis) count *= static_cast<size_t>(sizes[axis]);
  for (size_t i = 0; i < count; ++i) to[i] = kernel.scale * from[i] / (1.0f + std::fabs(from[i]));
}

const CustomOp kSquash = {
    kVersion,
    [](const CustomOp*, Table api, const OrtKernelInfo* info) -> void* {
      auto* kernel = new Kernel{api, 1.0f};
      OrtStatus* missing = Call(api, kKernelInfoGetAttributeFloat, info, "scale", &kernel->scale);
      if (missing != nullptr) Call<void>(api, kReleaseStatus, missing);
      return kernel;
    },
    [](const CustomOp*) { return "squash"; },
    [](const CustomOp*) -> const char* { return nullptr; },  // the CPU's
    [](const CustomOp*, size_t) { return kFloat; },
    [](const CustomOp*) { return size_t{1}; },
    [](const CustomOp*, size_t) { return kFloat; },
    [](const CustomOp*) { return size_t{1}; },
    Compute,
    [](void* self) { delete static_cast<Kernel*>(self); },
    [](const CustomOp*, size_t) { return kRequired; },
    [](const CustomOp*, size_t) { return kRequired; },
};

}  // namespace

extern "C" OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const ApiBase* base) {
  const Table api = base->GetApi(kVersion);
  static OrtCustomOpDomain* domain = nullptr;  // as long as any session lives
  if (domain == nullptr) {
    if (OrtStatus* failed = Call(api, kCreateCustomOpDomain, "example", &domain)) return failed;
    if (OrtStatus* failed = Call(api, kCustomOpDomainAdd, domain, &kSquash)) return failed;
  }
  return Call(api, kAddCustomOpDomain, options, domain);
}
