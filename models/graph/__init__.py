"""A classifier and its explanation as one ONNX graph, with automatic differentiation traced away.

folding         batch normalisation into the convolution before it
backward        each operator's gradient in operators that ONNX has
strided         that of a strided convolution, as small convolutions
pooling         that of max-pooling, without indices
padding         padding that keeps the batch symbolic
gates           derivatives of activations as arithmetic in ONNX Runtime's blocked layout
simplification  what spares the head of Grad-CAM its matrix product
tracing         a function of tensors → a plain, deduplicated operator graph, the batch symbolic
operators/      each operator of that graph in ONNX
emitter         the walk over the graph that writes the ONNX model
assembly        the two graphs that Rightly serves: prediction and explanation
"""
