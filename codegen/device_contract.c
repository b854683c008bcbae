/* codegen/device_contract.c -- contractions alone in their kernel: which way they are made on a GPU. */
#include "codegen/device_tile.h"

static void emit_direct(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch)
{
	enum { THREADS = 128, FEW = 64 };
	int64_t outputs = device_direct_outputs(k, k->body->contract);
	int threads = outputs < THREADS * FEW ? FEW : THREADS;
	LLVMValueRef first, step;
	DeviceFrame f;
	Emit *e = &f.e;

	device_begin(&f, module, k, t, symbol);
	device_team(&f, 1, threads);
	f.team.alone = true;
	*launch = (MloLaunch){.threads = (uint32_t)threads, .blocks = (uint32_t)((outputs + threads - 1) / threads)};
	launch->tasks_per_block = k->ntasks < 0 ? 1 : 0;
	first = LLVMBuildMul(e->b, device_special(e, "ctaid.x"), emit_index(e, threads), "");
	first = LLVMBuildAdd(e->b, first, f.team.thread, "");
	step = LLVMBuildMul(e->b, device_special(e, "nctaid.x"), emit_index(e, threads), "");
	device_direct(e, k->body, first, step);
	device_end(&f, launch);
}

bool mlo_device_emit_contract(LLVMModuleRef module, const MloKernel *k, const MloTarget *t, const char *symbol, MloLaunch *launch)
{
	if (!k->body || k->body->kind != KS_CONTRACT || !device_direct_takes(k->body->contract))
		return false;
	if (device_mma(module, k, t, symbol, launch) || device_patch(module, k, t, symbol, launch) || device_simt(module, k, t, symbol, launch))
		return true;
	emit_direct(module, k, t, symbol, launch);
	return true;
}
