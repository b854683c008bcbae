#!/usr/bin/env python3
"""bench/models.py [--list] FOLDER [NAME...] -- well-known architectures as ONNX files, to be measured.

Writes FOLDER/NAME.onnx for each NAME (default: all), batch 1, fixed shapes. Weights are random but seeded, batch-norm
statistics are those of random images, so that values stay in the range that trained networks have. Needs PyTorch,
torchvision and onnx (Debian: python3-torch python3-torchvision python3-onnx).
"""
import argparse
import math
import os
import sys

IMAGE = (1, 3, 224, 224)


def conv_bn(nn, cin, cout):
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU())


def unet(torch, nn):
    """U-Net (Ronneberger et al., 2015) with 16 to 128 channels."""
    widths = [16, 32, 64, 128]

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            double = lambda a, b: nn.Sequential(conv_bn(nn, a, b), conv_bn(nn, b, b))
            self.down = nn.ModuleList(double(a, b) for a, b in zip([3] + widths, widths))
            self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(widths, widths[1:]))
            self.join = nn.ModuleList(double(2 * a, a) for a in widths[:-1])
            self.head = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x):
            kept = []
            for i, block in enumerate(self.down):
                x = block(nn.functional.max_pool2d(x, 2) if i else x)
                kept.append(x)
            for i in reversed(range(len(self.up))):
                x = self.join[i](torch.cat([kept[i], self.up[i](x)], 1))
            return self.head(x)

    return UNet()


def encoder(torch, nn, width, layers, heads, vocabulary=30522, places=512):
    """BERT's encoder (Devlin et al., 2018): token ids and an attention mask in, one vector per sentence out."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.norm = nn.ModuleList(nn.LayerNorm(width, eps=1e-12) for _ in range(2))

        def forward(self, x, bias):
            batch, length, _ = x.shape
            split = lambda t: t.view(batch, length, heads, width // heads).transpose(1, 2)
            scores = split(self.q(x)) @ split(self.k(x)).transpose(-1, -2) / math.sqrt(width // heads)
            mixed = torch.softmax(scores + bias, -1) @ split(self.v(x))
            x = self.norm[0](x + self.o(mixed.transpose(1, 2).reshape(batch, length, width)))
            return self.norm[1](x + self.down(nn.functional.gelu(self.up(x))))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(places, width)
            self.norm = nn.LayerNorm(width, eps=1e-12)
            self.layers = nn.ModuleList(Layer() for _ in range(layers))

        def forward(self, ids, mask):
            x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
            bias = (1 - mask[:, None, None, :].to(x.dtype)) * -10000
            for layer in self.layers:
                x = layer(x, bias)
            weight = mask[:, :, None].to(x.dtype)
            return (x * weight).sum(1) / weight.sum(1)

    ids = torch.randint(0, vocabulary, (1, 128))
    return Encoder(), (ids, torch.ones_like(ids)), ["ids", "mask"]


def vision(name, **options):
    def make(torch, nn):
        import torchvision.models

        return getattr(torchvision.models, name)(**options), (torch.randn(IMAGE),), ["image"]

    return make


def vit(torch, nn):
    from torchvision.models.vision_transformer import VisionTransformer

    net = VisionTransformer(image_size=224, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768)
    nn.init.normal_(net.heads.head.weight, 0, 0.05)
    return net, (torch.randn(IMAGE),), ["image"]


ARCHITECTURES = {
    # what a call costs that has nothing to do
    "empty": lambda torch, nn: (nn.Identity(), (torch.randn(1, 1),), ["x"]),
    "resnet18": vision("resnet18"),
    "resnet50": vision("resnet50"),
    "vgg11": vision("vgg11"),
    "densenet121": vision("densenet121"),
    "googlenet": vision("googlenet", aux_logits=False, init_weights=True),
    "unet_small": lambda torch, nn: (unet(torch, nn), (torch.randn(1, 3, 256, 256),), ["image"]),
    "mobilenet_v2": vision("mobilenet_v2"),
    "mobilenet_v3_small": vision("mobilenet_v3_small"),
    "efficientnet_b0": vision("efficientnet_b0"),
    "shufflenet_v2": vision("shufflenet_v2_x1_0"),
    "squeezenet1_1": vision("squeezenet1_1"),
    "bert_base": lambda torch, nn: encoder(torch, nn, 768, 12, 12),
    "minilm_l6": lambda torch, nn: encoder(torch, nn, 384, 6, 12),
    "vit_tiny": vit,
}


def settle(torch, net, example):
    """Batch-norm statistics from a few random batches."""
    norms = [m for m in net.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    net.eval()
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, *example[0].shape[1:]))
    net.eval()


def export(name, folder):
    import torch

    torch.manual_seed(1)
    net, example, names = ARCHITECTURES[name](torch, torch.nn)
    settle(torch, net, example)
    path = os.path.join(folder, name + ".onnx")
    with torch.no_grad():
        torch.onnx.export(net, example, path + ".tmp", input_names=names, output_names=["result"], opset_version=14)
    os.replace(path + ".tmp", path)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("folder", nargs="?", default="models")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if options.list:
        print("\n".join(ARCHITECTURES))
        return 0
    unknown = [n for n in options.names if n not in ARCHITECTURES]
    if unknown:
        parser.error("unknown: %s (known: %s)" % (" ".join(unknown), " ".join(ARCHITECTURES)))
    os.makedirs(options.folder, exist_ok=True)
    for name in options.names or ARCHITECTURES:
        if not os.path.exists(os.path.join(options.folder, name + ".onnx")):
            print(export(name, options.folder), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
