/* codegen/kernel_text.h -- names that the printer, the parser and the verifier of kernels share. */
#ifndef MLO_CODEGEN_KERNEL_TEXT_H
#define MLO_CODEGEN_KERNEL_TEXT_H
#include "codegen/kernel.h"

extern const char *const mlo_kop_name[K_COUNT];
extern const int mlo_kop_operands[K_COUNT];
extern const char *const mlo_kloop_name[]; /* by KLoopKind */
extern const char *const mlo_kdir_name[];  /* by KArgDir */

/* The members of a contraction, an attention and a forest, in the order of the text. */
typedef enum KFieldKind { KF_I64, KF_INT, KF_BOOL, KF_ELEM } KFieldKind;
typedef struct KField {
	const char *name;
	size_t offset;
	KFieldKind kind;
} KField;
extern const KField mlo_kcontract_fields[]; /* these end with a NULL name */
extern const KField mlo_kattention_fields[];
extern const KField mlo_kforest_fields[];
int64_t mlo_kfield_get(const void *of, const KField *f);

void mlo_kidx_print(MloStr *o, const KIdx *e);
#endif
