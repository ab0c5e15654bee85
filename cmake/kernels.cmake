# The kernels of this library. This table drives the build, the registry, the tests and the benchmarks: a kernel is one
# line, compiled for every backend of cmake/targets.cmake.

# A generator, generators/<generator>.cpp, and its schedule's numbers, in the order of override_with() in the schedule's
# header.
function(muattn_generators)
  muattn_generator(spatial_attention       row_vectors key_unroll value_group tile_blocks chunk_keys span_chunks)
  muattn_generator(spatial_attention_split row_vectors key_unroll value_group tile_blocks chunk_keys span_chunks)
  muattn_generator(channel_attention       row_vectors column_group token_unroll tile_blocks chunk_tokens)
  muattn_generator(channel_attention_first map_rows map_columns tile_blocks chunk_tokens token_vectors channel_group tile_tokens)
  muattn_generator(merge)
endfunction()

function(muattn_kernels)
  #             operation         direction dtype   kind                 generator               its parameters
  muattn_kernel(spatial_attention forward   float32 plain                spatial_attention)
  muattn_kernel(spatial_attention forward   float32 lse                  spatial_attention       with_lse=true)
  muattn_kernel(spatial_attention forward   float32 softcap              spatial_attention       softcap_kind=always)
  muattn_kernel(spatial_attention forward   float32 softcap_lse          spatial_attention       softcap_kind=always with_lse=true)
  muattn_kernel(spatial_attention forward   float32 additive             spatial_attention       mask=additive)
  muattn_kernel(spatial_attention forward   float32 additive_lse         spatial_attention       mask=additive with_lse=true)
  muattn_kernel(spatial_attention forward   float32 additive_softcap     spatial_attention       mask=additive softcap_kind=always)
  muattn_kernel(spatial_attention forward   float32 additive_softcap_lse spatial_attention       mask=additive softcap_kind=always with_lse=true)
  muattn_kernel(spatial_attention forward   float32 boolean              spatial_attention       mask=boolean)
  muattn_kernel(spatial_attention forward   float32 boolean_lse          spatial_attention       mask=boolean with_lse=true)
  muattn_kernel(spatial_attention forward   float32 boolean_softcap      spatial_attention       mask=boolean softcap_kind=always)
  muattn_kernel(spatial_attention forward   float32 boolean_softcap_lse  spatial_attention       mask=boolean softcap_kind=always with_lse=true)
  muattn_kernel(spatial_attention forward   float32 guarded              spatial_attention       mask=any softcap_kind=optional guard_values=true)
  muattn_kernel(spatial_attention forward   float32 guarded_lse          spatial_attention       mask=any softcap_kind=optional guard_values=true with_lse=true)
  muattn_kernel(spatial_attention forward   float32 split                spatial_attention_split)
  muattn_kernel(spatial_attention forward   float32 split_lse            spatial_attention_split with_lse=true)
  muattn_kernel(channel_attention forward   float32 last                 channel_attention)
  muattn_kernel(channel_attention forward   float32 last_normalized      channel_attention       normalize=true)
  muattn_kernel(channel_attention forward   float32 first                channel_attention_first)
  muattn_kernel(channel_attention forward   float32 first_normalized     channel_attention_first normalize=true)
  muattn_kernel(merge             forward   float32 plain                merge)
endfunction()
