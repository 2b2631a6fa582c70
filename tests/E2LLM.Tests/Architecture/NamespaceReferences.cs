using System.Collections.Immutable;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace E2LLM.Tests.Architecture;

/// <summary>
/// Which namespaces of one compiled assembly refer to which others of it: base types, interfaces, attributes, constraints,
/// signatures, locals and every token in a method body. What the compiler folds away (constants, nameof) leaves no reference.
/// </summary>
internal sealed class NamespaceReferences
{
    private static readonly Dictionary<int, OpCode> OpCodesByValue = typeof(OpCodes).GetFields()
        .Select(field => (OpCode)field.GetValue(null)!)
        .ToDictionary(code => (int)(ushort)code.Value);

    private readonly MetadataReader _metadata;
    private readonly PEReader _image;
    private readonly string _root;
    private readonly TypeNames _types;
    private readonly Dictionary<(string From, string To), string> _found = [];

    private NamespaceReferences(PEReader image, string root)
    {
        _image = image;
        _root = root;
        _metadata = image.GetMetadataReader();
        _types = new TypeNames();
    }

    /// <summary>
    /// Each pair of different namespaces directly below <paramref name="root"/> ("" is the root itself; deeper ones count as their
    /// ancestor) of which the first refers to the second, with one type that does.
    /// </summary>
    public static IReadOnlyDictionary<(string From, string To), string> Read(string assemblyPath, string root)
    {
        using FileStream file = File.OpenRead(assemblyPath);
        using var image = new PEReader(file);
        var references = new NamespaceReferences(image, root);
        references.ReadAll();
        return references._found;
    }

    private void ReadAll()
    {
        foreach (TypeDefinitionHandle handle in _metadata.TypeDefinitions)
        {
            if (NamespaceOf(handle) is not { } from)
            {
                continue;
            }

            TypeDefinition type = _metadata.GetTypeDefinition(handle);
            var used = new HashSet<EntityHandle>();
            Add(used, type.BaseType);
            AddAttributes(used, type.GetCustomAttributes());
            foreach (InterfaceImplementationHandle item in type.GetInterfaceImplementations())
            {
                Add(used, _metadata.GetInterfaceImplementation(item).Interface);
            }

            foreach (GenericParameterHandle parameter in type.GetGenericParameters())
            {
                AddConstraints(used, parameter);
            }

            foreach (FieldDefinitionHandle field in type.GetFields())
            {
                used.UnionWith(_metadata.GetFieldDefinition(field).DecodeSignature(_types, null));
            }

            foreach (MethodDefinitionHandle method in type.GetMethods())
            {
                AddMethod(used, _metadata.GetMethodDefinition(method));
            }

            string name = _metadata.GetString(type.Name);
            foreach (EntityHandle target in used)
            {
                if (target.Kind == HandleKind.TypeDefinition
                    && NamespaceOf((TypeDefinitionHandle)target) is { } to && to != from)
                {
                    _found.TryAdd((from, to), name);
                }
            }
        }
    }

    private void AddMethod(HashSet<EntityHandle> used, MethodDefinition method)
    {
        AddSignature(used, method.DecodeSignature(_types, null));
        AddAttributes(used, method.GetCustomAttributes());
        foreach (GenericParameterHandle parameter in method.GetGenericParameters())
        {
            AddConstraints(used, parameter);
        }

        if (method.RelativeVirtualAddress == 0)
        {
            return;
        }

        MethodBodyBlock body = _image.GetMethodBody(method.RelativeVirtualAddress);
        if (!body.LocalSignature.IsNil)
        {
            foreach (ImmutableHashSet<EntityHandle> local in _metadata.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(_types, null))
            {
                used.UnionWith(local);
            }
        }

        foreach (ExceptionRegion region in body.ExceptionRegions)
        {
            Add(used, region.CatchType);
        }

        AddTokens(used, body.GetILReader());
    }

    private void AddTokens(HashSet<EntityHandle> used, BlobReader code)
    {
        while (code.RemainingBytes > 0)
        {
            int value = code.ReadByte();
            if (value == 0xFE)
            {
                value = (value << 8) | code.ReadByte();
            }

            switch (OpCodesByValue[value].OperandType)
            {
                case OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok or OperandType.InlineType or OperandType.InlineSig:
                    Add(used, MetadataTokens.EntityHandle(code.ReadInt32()));
                    break;
                case OperandType.InlineSwitch:
                    int targets = code.ReadInt32(); // before Offset is read: the compound assignment would take the old one
                    code.Offset += 4 * targets;
                    break;
                case OperandType.InlineI8 or OperandType.InlineR:
                    code.Offset += 8;
                    break;
                case OperandType.InlineBrTarget or OperandType.InlineI or OperandType.InlineString or OperandType.ShortInlineR:
                    code.Offset += 4;
                    break;
                case OperandType.InlineVar:
                    code.Offset += 2;
                    break;
                case OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar:
                    code.Offset += 1;
                    break;
                default:
                    break;
            }
        }
    }

    private void Add(HashSet<EntityHandle> used, EntityHandle handle)
    {
        switch (handle.IsNil ? default : handle.Kind)
        {
            case HandleKind.TypeDefinition when !handle.IsNil:
                used.Add(handle);
                break;
            case HandleKind.TypeSpecification:
                used.UnionWith(_metadata.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(_types, null));
                break;
            case HandleKind.FieldDefinition:
                FieldDefinition field = _metadata.GetFieldDefinition((FieldDefinitionHandle)handle);
                used.Add(field.GetDeclaringType());
                used.UnionWith(field.DecodeSignature(_types, null));
                break;
            case HandleKind.MethodDefinition:
                MethodDefinition method = _metadata.GetMethodDefinition((MethodDefinitionHandle)handle);
                used.Add(method.GetDeclaringType());
                AddSignature(used, method.DecodeSignature(_types, null));
                break;
            case HandleKind.MemberReference:
                MemberReference member = _metadata.GetMemberReference((MemberReferenceHandle)handle);
                Add(used, member.Parent);
                if (member.GetKind() == MemberReferenceKind.Method)
                {
                    AddSignature(used, member.DecodeMethodSignature(_types, null));
                }
                else
                {
                    used.UnionWith(member.DecodeFieldSignature(_types, null));
                }

                break;
            case HandleKind.MethodSpecification:
                MethodSpecification instance = _metadata.GetMethodSpecification((MethodSpecificationHandle)handle);
                Add(used, instance.Method);
                foreach (ImmutableHashSet<EntityHandle> argument in instance.DecodeSignature(_types, null))
                {
                    used.UnionWith(argument);
                }

                break;
            default:
                break;
        }
    }

    private static void AddSignature(HashSet<EntityHandle> used, MethodSignature<ImmutableHashSet<EntityHandle>> signature)
    {
        used.UnionWith(signature.ReturnType);
        foreach (ImmutableHashSet<EntityHandle> parameter in signature.ParameterTypes)
        {
            used.UnionWith(parameter);
        }
    }

    private void AddAttributes(HashSet<EntityHandle> used, CustomAttributeHandleCollection attributes)
    {
        foreach (CustomAttributeHandle attribute in attributes)
        {
            Add(used, _metadata.GetCustomAttribute(attribute).Constructor);
        }
    }

    private void AddConstraints(HashSet<EntityHandle> used, GenericParameterHandle parameter)
    {
        foreach (GenericParameterConstraintHandle constraint in _metadata.GetGenericParameter(parameter).GetConstraints())
        {
            Add(used, _metadata.GetGenericParameterConstraint(constraint).Type);
        }
    }

    /// <summary>The first segment below the root; null for what lies outside it (the compiler's own types among them).</summary>
    private string? NamespaceOf(TypeDefinitionHandle handle)
    {
        TypeDefinition type = _metadata.GetTypeDefinition(handle);
        while (!type.GetDeclaringType().IsNil)
        {
            type = _metadata.GetTypeDefinition(type.GetDeclaringType());
        }

        string name = _metadata.GetString(type.Namespace);
        return name == _root ? ""
            : name.StartsWith(_root + ".", StringComparison.Ordinal) ? name[(_root.Length + 1)..].Split('.')[0]
            : null;
    }
}
