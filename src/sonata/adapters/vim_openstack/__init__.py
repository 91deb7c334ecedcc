"""One PoP that is an OpenStack: `ports.vim.Vim` over openstacksdk."""

from sonata.adapters.vim_openstack.vim import OpenStackVim

__all__ = ["OpenStackVim"]
