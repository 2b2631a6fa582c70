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

    private readonly MetadataReader metadata;
    private readonly PEReader image;
    private readonly string root;
    private readonly TypeNames types;
    private readonly Dictionary<(string From, string To), string> found = [];

    private NamespaceReferences(PEReader image, string root)
    {
        this.image = image;
        this.root = root;
        metadata = image.GetMetadataReader();
        types = new TypeNames();
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
        return references.found;
    }

    private void ReadAll()
    {
        foreach (TypeDefinitionHandle handle in metadata.TypeDefinitions)
        {
            if (NamespaceOf(handle) is not { } from)
            {
                continue;
            }

            TypeDefinition type = metadata.GetTypeDefinition(handle);
            var used = new HashSet<EntityHandle>();
            Add(used, type.BaseType);
            AddAttributes(used, type.GetCustomAttributes());
            foreach (InterfaceImplementationHandle item in type.GetInterfaceImplementations())
            {
                Add(used, metadata.GetInterfaceImplementation(item).Interface);
            }

            foreach (GenericParameterHandle parameter in type.GetGenericParameters())
            {
                AddConstraints(used, parameter);
            }

            foreach (FieldDefinitionHandle field in type.GetFields())
            {
                used.UnionWith(metadata.GetFieldDefinition(field).DecodeSignature(types, null));
            }

            foreach (MethodDefinitionHandle method in type.GetMethods())
            {
                AddMethod(used, metadata.GetMethodDefinition(method));
            }

            string name = metadata.GetString(type.Name);
            foreach (EntityHandle target in used)
            {
                if (target.Kind == HandleKind.TypeDefinition
                    && NamespaceOf((TypeDefinitionHandle)target) is { } to && to != from)
                {
                    found.TryAdd((from, to), name);
                }
            }
        }
    }

    private void AddMethod(HashSet<EntityHandle> used, MethodDefinition method)
    {
        AddSignature(used, method.DecodeSignature(types, null));
        AddAttributes(used, method.GetCustomAttributes());
        foreach (GenericParameterHandle parameter in method.GetGenericParameters())
        {
            AddConstraints(used, parameter);
        }

        if (method.RelativeVirtualAddress == 0)
        {
            return;
        }

        MethodBodyBlock body = image.GetMethodBody(method.RelativeVirtualAddress);
        if (!body.LocalSignature.IsNil)
        {
            foreach (ImmutableHashSet<EntityHandle> local in metadata.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(types, null))
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
                used.UnionWith(metadata.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(types, null));
                break;
            case HandleKind.FieldDefinition:
                FieldDefinition field = metadata.GetFieldDefinition((FieldDefinitionHandle)handle);
                used.Add(field.GetDeclaringType());
                used.UnionWith(field.DecodeSignature(types, null));
                break;
            case HandleKind.MethodDefinition:
                MethodDefinition method = metadata.GetMethodDefinition((MethodDefinitionHandle)handle);
                used.Add(method.GetDeclaringType());
                AddSignature(used, method.DecodeSignature(types, null));
                break;
            case HandleKind.MemberReference:
                MemberReference member = metadata.GetMemberReference((MemberReferenceHandle)handle);
                Add(used, member.Parent);
                if (member.GetKind() == MemberReferenceKind.Method)
                {
                    AddSignature(used, member.DecodeMethodSignature(types, null));
                }
                else
                {
                    used.UnionWith(member.DecodeFieldSignature(types, null));
                }

                break;
            case HandleKind.MethodSpecification:
                MethodSpecification instance = metadata.GetMethodSpecification((MethodSpecificationHandle)handle);
                Add(used, instance.Method);
                foreach (ImmutableHashSet<EntityHandle> argument in instance.DecodeSignature(types, null))
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
            Add(used, metadata.GetCustomAttribute(attribute).Constructor);
        }
    }

    private void AddConstraints(HashSet<EntityHandle> used, GenericParameterHandle parameter)
    {
        foreach (GenericParameterConstraintHandle constraint in metadata.GetGenericParameter(parameter).GetConstraints())
        {
            Add(used, metadata.GetGenericParameterConstraint(constraint).Type);
        }
    }

    /// <summary>The first segment below the root; null for what lies outside it (the compiler's own types among them).</summary>
    private string? NamespaceOf(TypeDefinitionHandle handle)
    {
        TypeDefinition type = metadata.GetTypeDefinition(handle);
        while (!type.GetDeclaringType().IsNil)
        {
            type = metadata.GetTypeDefinition(type.GetDeclaringType());
        }

        string name = metadata.GetString(type.Namespace);
        return name == root ? ""
            : name.StartsWith(root + ".", StringComparison.Ordinal) ? name[(root.Length + 1)..].Split('.')[0]
            : null;
    }
}
