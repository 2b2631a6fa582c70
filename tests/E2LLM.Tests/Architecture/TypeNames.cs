using System.Collections.Immutable;
using System.Reflection.Metadata;

namespace E2LLM.Tests.Architecture;

/// <summary>Decodes a signature into the set of type definitions of the same assembly that it mentions.</summary>
internal sealed class TypeNames : ISignatureTypeProvider<ImmutableHashSet<EntityHandle>, object?>
{
    private static readonly ImmutableHashSet<EntityHandle> None = [];

    public ImmutableHashSet<EntityHandle> GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind) => [handle];

    public ImmutableHashSet<EntityHandle> GetTypeFromSpecification(
        MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
        reader.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

    public ImmutableHashSet<EntityHandle> GetGenericInstantiation(
        ImmutableHashSet<EntityHandle> genericType, ImmutableArray<ImmutableHashSet<EntityHandle>> typeArguments) =>
        typeArguments.Aggregate(genericType, (all, argument) => all.Union(argument));

    public ImmutableHashSet<EntityHandle> GetFunctionPointerType(MethodSignature<ImmutableHashSet<EntityHandle>> signature) =>
        signature.ParameterTypes.Aggregate(signature.ReturnType, (all, parameter) => all.Union(parameter));

    public ImmutableHashSet<EntityHandle> GetModifiedType(
        ImmutableHashSet<EntityHandle> modifier, ImmutableHashSet<EntityHandle> unmodifiedType, bool isRequired) => modifier.Union(unmodifiedType);

    public ImmutableHashSet<EntityHandle> GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) => None;

    public ImmutableHashSet<EntityHandle> GetPrimitiveType(PrimitiveTypeCode typeCode) => None;

    public ImmutableHashSet<EntityHandle> GetGenericMethodParameter(object? genericContext, int index) => None;

    public ImmutableHashSet<EntityHandle> GetGenericTypeParameter(object? genericContext, int index) => None;

    public ImmutableHashSet<EntityHandle> GetArrayType(ImmutableHashSet<EntityHandle> elementType, ArrayShape shape) => elementType;

    public ImmutableHashSet<EntityHandle> GetSZArrayType(ImmutableHashSet<EntityHandle> elementType) => elementType;

    public ImmutableHashSet<EntityHandle> GetByReferenceType(ImmutableHashSet<EntityHandle> elementType) => elementType;

    public ImmutableHashSet<EntityHandle> GetPointerType(ImmutableHashSet<EntityHandle> elementType) => elementType;

    public ImmutableHashSet<EntityHandle> GetPinnedType(ImmutableHashSet<EntityHandle> elementType) => elementType;
}
