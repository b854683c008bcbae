/* tests/unit/lower_cases.h -- small graphs that are lowered as one group, by kind of anchor; the loop tier takes all but the last ones. */
#ifndef MLO_TESTS_LOWER_CASES_H
#define MLO_TESTS_LOWER_CASES_H

static const char *const lower_maps[] = {
	"graph (%x: f32[2,3,50,70], %b: f32[3,1,1]) -> (%y) { %a = add(%x, %b) %y = relu(%a) }",
	"graph (%x: f32[2,20,5,7]@c8, %b: f32[20,1,1]) -> (%y) { %a = mul(%x, %b) : f32[2,20,5,7]@c8 %y = sigmoid(%a) : f32[2,20,5,7]@c8 }",
	"graph (%x: f32[2,16,5,7]@c8, %z: f32[2,16,5,7]@c8) -> (%y, %a) { %a = add(%x, %z) : f32[2,16,5,7]@c8 %y = relu(%a) : f32[2,16,5,7]@c8 }",
	"graph (%x: f32[1,16,5,7]@c8, %s: f32[1,16,1,1]@c8) -> (%y) { %y = mul(%x, %s) : f32[1,16,5,7]@c8 }",
	"graph (%x: i64[33], %z: i64[1]) -> (%y) { %a = div(%x, %z) %b = max(%a, %x) %y = cast(%b) {to=1} }",
	"graph (%x: f32[33], %c: bool[4,33], %z: f32[4,1]) -> (%y) { %y = where(%c, %x, %z) }",
	"graph (%x: f32[40001]) -> (%y) { const %lo: f32[] = [-0.5] %y = clip(%x, %lo) }",
	"graph (%x: f32[5,33]) -> (%y) { const %e: f32[] = [2] const %k: f32[] = [0.5] %q = pow(%x, %e) %y = pow(%q, %k) }",
	"graph (%x: f32[5,33], %z: f32[33]) -> (%y) { %l = less(%x, %z) %n = not(%l) %y = cast(%n) {to=1} }",
	"graph (%x: u8[300]) -> (%y) { %f = cast(%x) {to=1} const %k: f32[] = [0.25] %y = mul(%f, %k) }",
};

static const char *const lower_moves[] = {
	"graph (%x: f32[2,3,4,5]) -> (%y) { %y = transpose(%x) {perm=[0,2,1,3]} }",
	"graph (%x: f32[70,130]) -> (%y) { %t = transpose(%x) %y = relu(%t) }",
	"graph (%x: f32[2,12,70]) -> (%y) { const %s: i64[4] = [2,12,7,10] %r = reshape(%x, %s) %y = transpose(%r) {perm=[0,2,1,3]} }",
	"graph (%x: f32[4,6]) -> (%y) { const %s: i64[2] = [6,4] %r = reshape(%x, %s) %y = exp(%r) }",
	"graph (%x: f32[2,7,3,5]) -> (%y) { %t = transpose(%x) {perm=[0,2,1,3]} const %s: i64[3] = [2,3,35] %y = reshape(%t, %s) }",
	"graph (%x: f32[3,1,5]) -> (%y) { const %s: i64[4] = [2,3,4,5] %y = expand(%x, %s) }",
	"graph (%x: f32[9,40]) -> (%y) { const %a: i64[2] = [-1,2] const %b: i64[2] = [-100,30] const %c: i64[2] = [0,1] const %d: i64[2] = [-2,3] %y = slice(%x, %a, %b, %c, %d) }",
	"graph (%x: f32[3,20]) -> (%y) { const %p: i64[4] = [1,2,0,3] const %v: f32[] = [1.5] %r = relu(%x) %y = pad(%r, %p, %v) }",
	"graph (%x: f32[3,20]) -> (%y) { const %p: i64[4] = [1,2,0,3] const %v: f32[] = [1.5] %y = pad(%x, %p, %v) }",
	"graph (%x: f32[3,20]) -> (%y) { const %p: i64[4] = [1,2,2,3] %y = pad(%x, %p) {mode=\"reflect\"} }",
	"graph (%x: f32[3,20]) -> (%y) { const %p: i64[4] = [1,-2,2,3] %y = pad(%x, %p) {mode=\"edge\"} }",
	"graph (%x: f32[1,20,4,5]@c8) -> (%y) { const %p: i64[8] = [0,1,0,2,0,1,1,0] const %v: f32[] = [3] %y = pad(%x, %p, %v) : f32[1,22,5,7]@c8 }",
	"graph (%x: f32[3,20], %i: i64[2,3]) -> (%y) { %g = gather(%x, %i) {axis=0} %y = neg(%g) }",
	"graph (%x: f32[3,20]) -> (%y) { const %i: i64[] = [-1] %y = gather(%x, %i) {axis=1} }",
	"graph (%x: f32[2,4,6,7], %z: f32[2,3,6,7]) -> (%y) { %r = relu(%z) %y = concat(%x, %r) {axis=1} }",
	"graph (%x: f32[2,16,6,7]@c8, %z: f32[2,5,6,7]@c8) -> (%y) { %y = concat(%x, %z) {axis=1} : f32[2,21,6,7]@c8 }",
	"graph (%x: f32[2,5,6,7]@c8, %z: f32[2,16,6,7]@c8) -> (%y) { %y = concat(%x, %z) {axis=1} : f32[2,21,6,7]@c8 }",
	"graph (%x: f32[2,5,6,7]@c8, %z: f32[2,16,6,7]@c8) -> (%y) { %y = concat(%x, %z) {axis=1} : f32[2,21,6,7] }",
	"graph (%x: f32[4,6], %z: f32[4,3]) -> (%y) { %c = concat(%x, %z, %x) {axis=1} %y = abs(%c) }",
	"graph (%x: f32[4,9]) -> (%y, %z) { const %s: i64[2] = [2,7] %y, %z = split(%x, %s) {axis=1} }",
	"graph (%x: f32[4,9]) -> (%y) { const %r: i64[2] = [2,3] %y = tile(%x, %r) }",
	"graph (%x: f32[2,12,3,5]) -> (%y) { %y = depth_to_space(%x) {blocksize=2} }",
	"graph (%x: f32[2,12,3,5]) -> (%y) { %y = depth_to_space(%x) {blocksize=2, mode=\"CRD\"} }",
	"graph (%x: f32[2,21,30,70]) -> (%y) { %y = relayout(%x) : f32[2,21,30,70]@c8 }",
	"graph (%x: f32[2,21,30,70]@c8) -> (%y) { %r = relu(%x) : f32[2,21,30,70]@c8 %y = relayout(%r) : f32[2,21,30,70] }",
	"graph (%x: f32[1,16,3,3]@c16) -> (%y) { %r = relayout(%x) : f32[1,16,3,3] %y = flatten(%r) }",
	"graph (%x: f32[1,2,5,7]) -> (%y) { const %s: f32[4] = [1,1,2,3] %y = resize(%x, _, %s) {mode=\"nearest\"} }",
	"graph (%x: f32[1,10,5,7]@c8) -> (%y) { const %s: f32[4] = [1,1,2,2] %y = resize(%x, _, %s) {mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"} : f32[1,10,10,14]@c8 }",
	"graph (%x: f32[1,2,5,7]) -> (%y) { const %s: i64[4] = [1,2,9,4] %y = resize(%x, _, _, %s) {mode=\"linear\"} }",
	"graph (%x: f32[1,10,5,7]@c8) -> (%y) { const %s: i64[4] = [1,10,10,13] %y = resize(%x, _, _, %s) {mode=\"linear\", coordinate_transformation_mode=\"align_corners\"} : f32[1,10,10,13]@c8 }",
	"graph (%x: i64[3,4]) -> (%y) { const %a: i64[1] = [0] %u = unsqueeze(%x, %a) %y = squeeze(%u, %a) }",
};

static const char *const lower_reductions[] = {
	"graph (%x: f32[5,100]) -> (%y) { const %a: i64[1] = [1] %y = reduce_sum(%x, %a) {keepdims=0} }",
	"graph (%x: f32[5,100]) -> (%y) { const %a: i64[1] = [0] %s = reduce_mean(%x, %a) {keepdims=0} %y = relu(%s) }",
	"graph (%x: f32[2,20,7,9]@c8) -> (%y) { const %a: i64[2] = [2,3] %y = reduce_mean(%x, %a) : f32[2,20,1,1]@c8 }",
	"graph (%x: f32[2,20,7,9]@c8) -> (%y) { const %a: i64[1] = [1] %y = reduce_max(%x, %a) }",
	"graph (%x: f32[2,20,7,9]) -> (%y) { const %a: i64[2] = [1,-1] %y = reduce_l2(%x, %a) {keepdims=0} }",
	"graph (%x: f32[3,4,5], %z: f32[4,1]) -> (%y) { %m = mul(%x, %z) %e = exp(%m) %y = reduce_sum(%e) }",
	"graph (%x: i64[3,4,5]) -> (%y) { const %a: i64[1] = [1] %y = reduce_prod(%x, %a) }",
	"graph (%x: i32[3,45]) -> (%y) { const %a: i64[1] = [1] %y = reduce_min(%x, %a) }",
	"graph (%x: f32[3,45,6]) -> (%y) { %y = arg_max(%x) {axis=1} }",
	"graph (%x: i32[30,45]) -> (%y) { %y = arg_min(%x) {axis=-1, keepdims=0, select_last_index=1} }",
	"graph (%x: f32[6,3,40], %z: f32[6,3,40]) -> (%y, %s) { %s = add(%x, %z) const %a: i64[1] = [2] %m = reduce_max(%s, %a) {keepdims=0} %y = tanh(%m) }",
	"graph (%x: f32[1,7]) -> (%y) { const %a: i64[1] = [0] %y = reduce_sum(%x, %a) }",
};

static const char *const lower_pools[] = {
	"graph (%x: f32[2,3,11,13]) -> (%y) { %y = max_pool(%x) {kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]} }",
	"graph (%x: f32[2,12,11,13]@c8) -> (%y) { %p = max_pool(%x) {kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]} : f32[2,12,6,7]@c8 %y = relu(%p) : f32[2,12,6,7]@c8 }",
	"graph (%x: f32[1,12,11,13]@c8) -> (%y) { %y = max_pool(%x) {kernel_shape=[3,2], dilations=[2,3], ceil_mode=1, strides=[2,3]} : f32[1,12,4,4]@c8 }",
	"graph (%x: f32[1,12,11,13]@c8) -> (%y) { %y = average_pool(%x) {kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]} : f32[1,12,6,7]@c8 }",
	"graph (%x: f32[1,2,11,13]) -> (%y) { %y = average_pool(%x) {kernel_shape=[3,3], pads=[1,0,1,2], count_include_pad=1} }",
	"graph (%x: f32[1,2,11,13]) -> (%y) { %y = average_pool(%x) {kernel_shape=[3,3], auto_pad=\"SAME_UPPER\", strides=[2,2]} }",
	"graph (%x: f32[1,2,31]) -> (%y) { %r = relu(%x) %n = neg(%r) %y = max_pool(%n) {kernel_shape=[4], pads=[1,2]} }",
	"graph (%x: f32[2,20,6,7]@c8) -> (%y) { %y = global_average_pool(%x) : f32[2,20,1,1]@c8 }",
	"graph (%x: f32[2,20,6,7]@c8) -> (%y) { %p = global_average_pool(%x) : f32[2,20,1,1]@c8 %r = relayout(%p) : f32[2,20,1,1] %y = flatten(%r) }",
	"graph (%x: f32[2,5,6,7]) -> (%y) { %p = global_max_pool(%x) %y = relu(%p) }",
	"graph (%x: f32[1,3,6,7,8]) -> (%y) { %y = average_pool(%x) {kernel_shape=[2,3,2], strides=[2,1,2]} }",
};

static const char *const lower_rows[] = {
	"graph (%x: f32[3,4,100]) -> (%y) { %y = softmax(%x) }",
	"graph (%x: f32[3,70,20]) -> (%y) { %y = softmax(%x) {axis=1} }",
	"graph (%x: f32[3,10,130]) -> (%y) { %l = log_softmax(%x) {axis=1} %y = neg(%l) }",
	"graph (%x: f32[3,4,37]) -> (%y) { %y = log_softmax(%x) }",
	"graph (%x: f32[2,4,9,9], %m: f32[2,1,1,9]) -> (%y) { const %k: f32[] = [0.125] %s = mul(%x, %k) %a = add(%s, %m) %y = softmax(%a) }",
	"graph (%x: f32[6,48], %w: f32[48], %b: f32[48]) -> (%y) { %y = layer_norm(%x, %w, %b) }",
	"graph (%x: f32[2,6,48], %z: f32[2,6,48], %w: f32[48], %b: f32[48]) -> (%y, %s) { %s = add(%x, %z) %n = layer_norm(%s, %w, %b) %y = gelu(%n) }",
	"graph (%x: f32[3,5,6], %w: f32[5,6]) -> (%y) { %y = layer_norm(%x, %w) {axis=1, epsilon=0.001} }",
	"graph (%x: f64[3,1]) -> (%y) { %y = softmax(%x) }",
};

/* Groups of convolutions around a depthwise one (images are put into blocks by the test). */
#define BANDS_EXPAND "const %w1: f32[64,12,1,1] = random(1) const %b1: f32[64] = random(2) %c1 = conv(%x, %w1, %b1) "
#define BANDS_PROJECT "const %w3: f32[20,64,1,1] = random(5) const %b3: f32[20] = random(6) %c3 = conv(%a2, %w3, %b3) "
static const char *const lower_bands[] = {
	"graph (%x: f32[2,12,11,13]) -> (%y) { " BANDS_EXPAND "%a1 = hard_swish(%c1) const %w2: f32[64,1,3,3] = random(3) "
	"%c2 = conv(%a1, %w2) {group=64, pads=[1,1,1,1]} %a2 = relu(%c2) " BANDS_PROJECT "%y = relu(%c3) }",
	"graph (%x: f32[1,12,13,9], %r: f32[1,20,7,5]) -> (%y) { " BANDS_EXPAND "%a1 = swish(%c1) const %w2: f32[64,1,5,5] = random(3) "
	"const %b2: f32[64] = random(4) %a2 = conv(%a1, %w2, %b2) {group=64, pads=[2,2,2,2], strides=[2,2]} " BANDS_PROJECT
	"%y = add(%c3, %r) }",
	"graph (%x: f32[1,12,12,8]) -> (%y) { " BANDS_EXPAND "const %w2: f32[64,1,3,3] = random(3) "
	"%c2 = conv(%c1, %w2) {group=64, pads=[0,0,1,1], strides=[2,2]} %y = sigmoid(%c2) }",
	"graph (%x: f32[1,12,12,10]) -> (%y) { " BANDS_EXPAND "const %w2: f32[64,1,3,3] = random(3) "
	"%y = conv(%c1, %w2) {group=64, dilations=[2,2], pads=[2,2,2,2]} }",
	"graph (%x: f32[3,18,9,10]) -> (%y) { const %w2: f32[18,1,3,3] = random(3) const %b2: f32[18] = random(4) "
	"%c2 = conv(%x, %w2, %b2) {group=18, pads=[1,1,1,1]} %a2 = relu(%c2) const %w3: f32[34,18,1,1] = random(5) "
	"%c3 = conv(%a2, %w3) %y = hard_swish(%c3) }",
	"graph (%x: f32[1,3,17,15]) -> (%y) { const %w1: f32[32,3,3,3] = random(1) %c1 = conv(%x, %w1) {strides=[2,2], pads=[1,1,1,1]} "
	"const %w2: f32[32,1,3,3] = random(3) %a2 = conv(%c1, %w2) {group=32, pads=[1,1,1,1]} const %w3: f32[16,32,1,1] = random(5) "
	"%y = conv(%a2, %w3) }",
};
#endif
