// A layer between the Vulkan loader and its driver, for VK_INSTANCE_LAYERS: its devices have 4 KiB of shared memory.
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#include <cstring>

namespace {

PFN_vkGetInstanceProcAddr next_instance_function = nullptr;
PFN_vkGetPhysicalDeviceProperties next_properties = nullptr;

VKAPI_ATTR void VKAPI_CALL properties(VkPhysicalDevice device, VkPhysicalDeviceProperties *result) {
    next_properties(device, result);
    result->limits.maxComputeSharedMemorySize = 4096;
}

VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *callbacks,
                                               VkInstance *instance) {
    auto *link = static_cast<VkLayerInstanceCreateInfo *>(const_cast<void *>(info->pNext));
    while (link->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO) {
        link = static_cast<VkLayerInstanceCreateInfo *>(const_cast<void *>(link->pNext));
    }
    next_instance_function = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    const auto create = reinterpret_cast<PFN_vkCreateInstance>(next_instance_function(nullptr, "vkCreateInstance"));
    const VkResult error = create(info, callbacks, instance);
    if (error == VK_SUCCESS) {
        next_properties = reinterpret_cast<PFN_vkGetPhysicalDeviceProperties>(
            next_instance_function(*instance, "vkGetPhysicalDeviceProperties"));
    }
    return error;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL instance_function(VkInstance instance, const char *name) {
    if (strcmp(name, "vkGetInstanceProcAddr") == 0) {
        return reinterpret_cast<PFN_vkVoidFunction>(instance_function);
    }
    if (strcmp(name, "vkCreateInstance") == 0) {
        return reinterpret_cast<PFN_vkVoidFunction>(create_instance);
    }
    if (strcmp(name, "vkGetPhysicalDeviceProperties") == 0) {
        return reinterpret_cast<PFN_vkVoidFunction>(properties);
    }
    return next_instance_function != nullptr ? next_instance_function(instance, name) : nullptr;
}

}  // namespace

extern "C" VK_LAYER_EXPORT VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
    version->loaderLayerInterfaceVersion = 2;
    version->pfnGetInstanceProcAddr = instance_function;
    version->pfnGetDeviceProcAddr = nullptr;
    version->pfnGetPhysicalDeviceProcAddr = nullptr;
    return VK_SUCCESS;
}
