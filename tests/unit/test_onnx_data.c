/* tests/unit/test_onnx_data.c -- TensorProto: every way of storing elements, and hostile ones. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "tests/unit/onnx_fixture.h"

void suite_onnx_data(void);

/* Reads `t` back through its bytes. */
static MloTensor *reread(OnnxFix *f, const Onnx__TensorProto *t)
{
	size_t n = onnx__tensor_proto__get_packed_size(t);
	uint8_t *p = mlo_alloc(f->a, n, 1);

	onnx__tensor_proto__pack(t, p);
	return mlo_onnx_tensor_memory(f->a, p, n, "t", &f->diag);
}

static void raw_bytes_are_the_elements(void)
{
	OnnxFix f;
	const float v[] = {1, -2.5f, 3};
	MloTensor *t;

	ox_model(&f, 17);
	Onnx__TensorProto *p = ox_tensor(&f, "w", EL_f32, "3x1");
	ox_raw(&f, p, v, sizeof v);
	t = reread(&f, p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT(t->elem == EL_f32 && t->rank == 2 && t->dim[0] == 3 && t->dim[1] == 1 && t->nbytes == 12);
	CU_ASSERT_EQUAL(memcmp(t->data, v, sizeof v), 0);
	ox_free(&f);
}

static void typed_fields_are_narrowed(void)
{
	static const struct {
		MloElem e;
		int32_t in;
		int64_t bits;
	} rows[] = {
		{EL_i8, -3, -3},        {EL_u8, 250, 250},        {EL_i16, -300, -300},
		{EL_u16, 65535, 65535}, {EL_i32, -70000, -70000},
	};
	OnnxFix f;

	ox_model(&f, 17);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Onnx__TensorProto *p = ox_tensor(&f, "w", rows[i].e, "2");
		int32_t v[] = {1, rows[i].in};
		MloTensor *t;

		p->int32_data = v;
		p->n_int32_data = 2;
		t = reread(&f, p);
		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		CU_ASSERT_EQUAL(mlo_tensor_i64(t, 0), 1);
		CU_ASSERT_EQUAL(mlo_tensor_i64(t, 1), rows[i].bits);
	}
	ox_free(&f);
}

static void integers_are_of_their_type(void)
{
	static const struct {
		MloElem e;
		int32_t in;
	} rows[] = {{EL_i8, 128}, {EL_i8, -129}, {EL_u8, 256}, {EL_u8, -1}, {EL_i16, 32768}, {EL_u16, -1}};
	OnnxFix f;

	ox_model(&f, 17);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Onnx__TensorProto *p = ox_tensor(&f, "w", rows[i].e, "2");
		int32_t v[] = {1, rows[i].in};

		p->int32_data = v;
		p->n_int32_data = 2;
		CU_ASSERT_PTR_NULL(reread(&f, p));
		CU_ASSERT(ox_says(&f, "tensor 'w': entry 1 of int32_data is"));
	}
	ox_free(&f);
}

static void wide_fields(void)
{
	OnnxFix f;
	double d[] = {0.1, -1e300};
	int64_t i[] = {INT64_MIN, 7};
	uint64_t u[] = {4000000000u, 5};
	MloTensor *t;

	ox_model(&f, 17);
	Onnx__TensorProto *p = ox_tensor(&f, "d", EL_f64, "2");
	p->double_data = d;
	p->n_double_data = 2;
	t = reread(&f, p);
	CU_ASSERT(t && mlo_tensor_f64(t, 1) == -1e300);
	p = ox_tensor(&f, "i", EL_i64, "2");
	p->int64_data = i;
	p->n_int64_data = 2;
	t = reread(&f, p);
	CU_ASSERT(t && mlo_tensor_i64(t, 0) == INT64_MIN);
	p = ox_tensor(&f, "u", EL_u32, "2");
	p->uint64_data = u;
	p->n_uint64_data = 2;
	t = reread(&f, p);
	CU_ASSERT(t && t->nbytes == 8 && mlo_tensor_i64(t, 0) == 4000000000);
	ox_free(&f);
}

static void half_floats_and_nibbles(void)
{
	OnnxFix f;
	int32_t half[] = {0x3c00, 0xc000}, nibbles[] = {0x21, 0x0f};
	MloTensor *t;

	ox_model(&f, 17);
	Onnx__TensorProto *p = ox_tensor(&f, "h", EL_f16, "2");
	p->int32_data = half;
	p->n_int32_data = 2;
	t = reread(&f, p);
	CU_ASSERT(t && mlo_tensor_f64(t, 0) == 1 && mlo_tensor_f64(t, 1) == -2);
	p = ox_tensor(&f, "n", EL_i4, "3");
	p->int32_data = nibbles;
	p->n_int32_data = 2;
	t = reread(&f, p);
	CU_ASSERT(t && t->nbytes == 2 && mlo_tensor_i64(t, 0) == 1 && mlo_tensor_i64(t, 1) == 2 &&
		  mlo_tensor_i64(t, 2) == -1);
	ox_free(&f);
}

static void strings_and_bools(void)
{
	OnnxFix f;
	ProtobufCBinaryData s[] = {{2, (uint8_t *)"ab"}, {0, NULL}};
	const uint8_t odd[] = {0, 2, 255};
	MloTensor *t;

	ox_model(&f, 17);
	Onnx__TensorProto *p = ox_tensor(&f, "s", EL_str, "2");
	p->string_data = s;
	p->n_string_data = 2;
	t = reread(&f, p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT(((const MloText *)t->data)[0].n == 2 && !memcmp(((const MloText *)t->data)[0].s, "ab", 2));
	CU_ASSERT_EQUAL(((const MloText *)t->data)[1].n, 0);
	p = ox_tensor(&f, "b", EL_bool, "3");
	ox_raw(&f, p, odd, 3);
	t = reread(&f, p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
	CU_ASSERT_EQUAL(memcmp(t->data, "\0\1\1", 3), 0);
	ox_free(&f);
}

/* Each must be refused with these words, and without memory for what it claims. */
static void bad_tensors_are_refused(void)
{
	static const struct {
		const char *shape;
		MloElem e;
		size_t raw;
		const char *says;
	} rows[] = {
		{"2x3", EL_f32, 20, "raw data has 20 bytes, its type and shape need 24"},
		{"-1", EL_f32, 4, "dimension 0 is -1"},
		{"1152921504606846976", EL_u8, 4, "too large"},
		{"4294967296x4294967296x4294967296", EL_u8, 4, "too large"},
		{"1000000000", EL_f32, 0, "need 4000000000"},
		{"1x1x1x1x1x1x1x1x1", EL_f32, 4, "9 dimensions"},
		{"1", EL_none, 4, "unknown element type"},
		{"1", EL_str, 16, "strings cannot be raw data"},
	};
	OnnxFix f;

	ox_model(&f, 17);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Onnx__TensorProto *p = ox_tensor(&f, "w", rows[i].e, rows[i].shape);
		uint8_t zero[32] = {0};

		p->data_type = rows[i].e ? p->data_type : 99;
		ox_raw(&f, p, zero, rows[i].raw);
		CU_ASSERT_PTR_NULL(reread(&f, p));
		CU_ASSERT(ox_says(&f, rows[i].says));
		mlo_diag_free(&f.diag);
	}
	CU_ASSERT(mlo_arena_bytes(f.a) < 4 << 20);
	Onnx__TensorProto *p = ox_tensor(&f, "w", EL_f32, "1000000000");
	CU_ASSERT_PTR_NULL(reread(&f, p));
	CU_ASSERT(ox_says(&f, "float_data has 0 entries"));
	ox_free(&f);
}

static Onnx__SparseTensorProto *sparse(OnnxFix *f, const float *v, const int64_t *at, const char *index_shape,
				       int64_t rows)
{
	Onnx__SparseTensorProto *s = MLO_NEW(f->a, Onnx__SparseTensorProto);

	onnx__sparse_tensor_proto__init(s);
	s->values = ox_tensor(f, "w", EL_f32, "2");
	ox_raw(f, s->values, v, 2 * sizeof *v);
	s->indices = ox_tensor(f, "", EL_i64, index_shape);
	ox_raw(f, s->indices, at, (strchr(index_shape, 'x') ? 4 : 2) * sizeof *at);
	s->n_dims = 2;
	s->dims = mlo_dup(f->a, (int64_t[]){rows, 2}, 16);
	return s;
}

static void sparse_initialisers_become_dense(void)
{
	static const float want[] = {0, 5, 0, 0, 6, 0}, v[] = {5, 6};
	OnnxFix f;

	for (int form = 0; form < 2; form++) {
		Onnx__SparseTensorProto *s;

		ox_model(&f, 17);
		s = form ? sparse(&f, v, (int64_t[]){0, 1, 2, 0}, "2x2", 3)
			 : sparse(&f, v, (int64_t[]){1, 4}, "2", 3);
		f.graph.sparse_initializer = &s;
		f.graph.n_sparse_initializer = 1;
		ox_in(&f, "x", EL_f32, "3x2");
		ox_node(&f, "Add", "x w", "y");
		ox_out(&f, "y");
		CU_ASSERT_PTR_NOT_NULL_FATAL(ox_load(&f));
		CU_ASSERT_PTR_NOT_NULL_FATAL(ox_operand(&f, 0, 1));
		CU_ASSERT_EQUAL(memcmp(ox_operand(&f, 0, 1)->data, want, sizeof want), 0);
		ox_free(&f);
	}
}

static void bad_sparse_initialisers(void)
{
	static const struct {
		int64_t at[2], rows;
		const char *says;
	} rows[] = {
		{{1, 6}, 3, "index of value 1 is outside"},
		{{-1, 2}, 3, "outside"},
		{{0, 1}, (int64_t)1 << 36, "when dense"},
	};
	OnnxFix f;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		Onnx__SparseTensorProto *s;

		ox_model(&f, 17);
		s = sparse(&f, (float[]){5, 6}, rows[i].at, "2", rows[i].rows);
		f.graph.sparse_initializer = &s;
		f.graph.n_sparse_initializer = 1;
		ox_node(&f, "Relu", "w", "y");
		ox_out(&f, "y");
		CU_ASSERT_PTR_NULL(ox_load(&f));
		CU_ASSERT(ox_says(&f, rows[i].says));
		ox_free(&f);
	}
}

static void cut_bytes_are_refused(void)
{
	OnnxFix f;
	size_t n;
	uint8_t *p;

	ox_model(&f, 17);
	ox_in(&f, "x", EL_f32, "2");
	ox_const(&f, "w", EL_f32, "2", (float[]){1, 2}, 8);
	ox_node(&f, "Add", "x w", "y");
	ox_out(&f, "y");
	p = ox_bytes(&f, &n);
	for (size_t cut = 0; cut < n; cut++) {
		MloGraph *g = mlo_onnx_load_memory(p, cut, "cut", NULL, NULL, &f.diag);

		CU_ASSERT(!g == (f.diag.nerrors > 0));
		mlo_graph_free(g ? g : mlo_graph_new("none"));
		mlo_diag_free(&f.diag);
	}
	ox_free(&f);
}

static void deep_nesting_is_refused(void)
{
	uint8_t p[4096];
	size_t n = sizeof p;
	MloDiag d = {0};

	/* message 5 (t) of message 5 (attribute) ... : graph -> node -> attribute -> graph -> ... */
	while (n > 12) {
		static const uint8_t tag[] = {0x3a, 0x0a, 0x2a, 0x32};
		size_t level = (sizeof p - n) / 3, inside = sizeof p - n;

		n -= 3;
		p[n] = level % 3 == 0 ? tag[3] : level % 3 == 1 ? tag[2] : tag[1];
		p[n + 1] = (uint8_t)(0x80 | (inside & 0x7f));
		p[n + 2] = (uint8_t)(inside >> 7);
	}
	n -= 3;
	p[n] = 0x3a;
	p[n + 1] = (uint8_t)(0x80 | ((sizeof p - n - 3) & 0x7f));
	p[n + 2] = (uint8_t)((sizeof p - n - 3) >> 7);
	CU_ASSERT_PTR_NULL(mlo_onnx_load_memory(p + n, sizeof p - n, "deep", NULL, NULL, &d));
	CU_ASSERT_EQUAL(d.lines[0].status, MLO_ERR_LIMIT);
	mlo_diag_free(&d);
}

void suite_onnx_data(void)
{
	CU_pSuite s = CU_add_suite("onnx_data", NULL, NULL);

	CU_add_test(s, "raw bytes are the elements", raw_bytes_are_the_elements);
	CU_add_test(s, "typed fields are narrowed", typed_fields_are_narrowed);
	CU_add_test(s, "integers are of their type", integers_are_of_their_type);
	CU_add_test(s, "wide fields", wide_fields);
	CU_add_test(s, "half floats and nibbles", half_floats_and_nibbles);
	CU_add_test(s, "strings and bools", strings_and_bools);
	CU_add_test(s, "bad tensors are refused", bad_tensors_are_refused);
	CU_add_test(s, "sparse initialisers become dense", sparse_initialisers_become_dense);
	CU_add_test(s, "bad sparse initialisers", bad_sparse_initialisers);
	CU_add_test(s, "cut bytes are refused", cut_bytes_are_refused);
	CU_add_test(s, "deep nesting is refused", deep_nesting_is_refused);
}
