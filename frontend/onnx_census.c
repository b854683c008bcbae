/* frontend/onnx_census.c -- which operators a model names, whether they can be read or not. */
#include "frontend/onnx_import.h"
#include "frontend/onnx_wire.h"

MloStatus mlo_onnx_nodes(MloArena *a, const void *model, size_t n, MloOnnxNodeFn *see, void *user, MloDiag *d)
{
	const Onnx__ModelProto *m = onnx_unpack(a, &onnx__model_proto__descriptor, (OnnxBytes){model, n}, d);

	if (!m)
		return MLO_ERR_FORMAT;
	for (size_t i = 0; m->graph && i < m->graph->n_node; i++)
		see(user, onnx_domain(m->graph->node[i]->domain), onnx_text(m->graph->node[i]->op_type));
	return MLO_OK;
}
