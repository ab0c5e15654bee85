# The kernels of this library. These tables drive the build, the registry and the tests: a kernel is one line, compiled for
# every backend of its kind in cmake/targets.cmake.

# A generator, generators/<generator>.cpp, and its schedule's numbers, in the order of override_with() in the schedule's
# header.
function(muattn_generators)
  muattn_generator(spatial_attention       row_vectors key_unroll value_group tile_blocks chunk_keys)
  muattn_generator(spatial_attention_split block_rows key_unroll value_vectors group_keys prefetch_keys span_keys)
  muattn_generator(spatial_attention_short block_rows tile_blocks)
  muattn_generator(channel_attention       row_vectors column_group token_unroll tile_blocks chunk_tokens value_columns)
  muattn_generator(channel_attention_first map_rows map_columns tile_blocks chunk_tokens token_vectors channel_group tile_tokens)
  muattn_generator(merge)

  muattn_gpu_generator(spatial_attention_block block_rows block_keys thread_rows thread_columns part_blocks)
  muattn_gpu_generator(channel_attention_tiles map_tile token_tile step thread_tile)
endfunction()

function(muattn_kernels)
  # The runtime takes the blocks that leave the fewest rows of a map empty. Those of `last` are of one vector on scalar and of
  # two where vectors are scalable (schedules/channel_attention_schedule.h), and others have no d there for which they are fewer.
  muattn_never_chosen("^scalar$" triple triple_normalized)
  muattn_never_chosen("^(scalar$|sve|rvv)" pair pair_normalized)

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
  muattn_kernel(spatial_attention forward   float32 split_guarded        spatial_attention_split mask=any softcap_kind=optional guard_values=true)
  muattn_kernel(spatial_attention forward   float32 split_guarded_lse    spatial_attention_split mask=any softcap_kind=optional guard_values=true with_lse=true)
  muattn_kernel(spatial_attention forward   float32 short_plain          spatial_attention_short)
  muattn_kernel(spatial_attention forward   float32 short_lse            spatial_attention_short with_lse=true)
  muattn_kernel(spatial_attention forward   float32 short_additive       spatial_attention_short mask=additive)
  muattn_kernel(spatial_attention forward   float32 short_additive_lse   spatial_attention_short mask=additive with_lse=true)
  muattn_kernel(spatial_attention forward   float32 short_boolean        spatial_attention_short mask=boolean)
  muattn_kernel(spatial_attention forward   float32 short_boolean_lse    spatial_attention_short mask=boolean with_lse=true)
  muattn_kernel(channel_attention forward   float32 last                 channel_attention)
  muattn_kernel(channel_attention forward   float32 last_normalized      channel_attention       normalize=true)
  muattn_kernel(channel_attention forward   float32 triple               channel_attention       block_vectors=3)
  muattn_kernel(channel_attention forward   float32 triple_normalized    channel_attention       block_vectors=3 normalize=true)
  muattn_kernel(channel_attention forward   float32 pair                 channel_attention       block_vectors=2)
  muattn_kernel(channel_attention forward   float32 pair_normalized      channel_attention       block_vectors=2 normalize=true)
  muattn_kernel(channel_attention forward   float32 first                channel_attention_first)
  muattn_kernel(channel_attention forward   float32 first_normalized     channel_attention_first normalize=true)
  muattn_kernel(merge             forward   float32 plain                merge)
endfunction()

# Head dimensions that the GPU kernels of spatial attention are compiled for: what a thread block shares has a fixed
# size. A call takes the first that holds d and d_v.
set(muattn_gpu_head_dims 16 32 40 48 64 80 96 128 192 256)

function(muattn_gpu_kernels)
  foreach(d IN LISTS muattn_gpu_head_dims)
    #                 operation         direction dtype   kind              d    generator               its parameters
    muattn_gpu_kernel(spatial_attention forward   float32 plain             ${d} spatial_attention_block)
    muattn_gpu_kernel(spatial_attention forward   float32 lse               ${d} spatial_attention_block with_lse=true)
    muattn_gpu_kernel(spatial_attention forward   float32 guarded_lse       ${d} spatial_attention_block mask=any softcap_kind=optional with_lse=true)
    muattn_gpu_kernel(spatial_attention forward   float32 split_lse         ${d} spatial_attention_block split=true with_lse=true)
    muattn_gpu_kernel(spatial_attention forward   float32 split_guarded_lse ${d} spatial_attention_block split=true mask=any softcap_kind=optional with_lse=true)
  endforeach()
  muattn_gpu_kernel(channel_attention forward float32 last             0 channel_attention_tiles)
  muattn_gpu_kernel(channel_attention forward float32 last_normalized  0 channel_attention_tiles normalize=true)
  muattn_gpu_kernel(channel_attention forward float32 first            0 channel_attention_tiles channels_first=true)
  muattn_gpu_kernel(channel_attention forward float32 first_normalized 0 channel_attention_tiles channels_first=true normalize=true)
  muattn_gpu_kernel(merge             forward float32 plain            0 merge)
endfunction()
