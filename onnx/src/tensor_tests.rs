use super::*;

fn store() -> TensorStore {
    TensorStore::new(ExternalFiles::none(&Budget::default()), Budget::default())
}

fn tensor(dtype: ElemType, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: "t".into(),
        data_type: dtype.number(),
        dims: dims.to_vec(),
        ..Default::default()
    }
}

fn bytes_of(tensor: &TensorProto) -> Vec<u8> {
    store().decode(tensor, "test").unwrap().bytes.to_vec()
}

fn problem_of(tensor: &TensorProto) -> String {
    store().decode(tensor, "test").unwrap_err().to_string()
}

#[test]
fn raw_bytes_are_shared() {
    let raw = Bytes::from(vec![1, 2, 3, 4, 5, 6, 7, 8]);
    let mut t = tensor(ElemType::F32, &[2]);
    t.raw_data = Some(raw.clone());
    let data = store().decode(&t, "test").unwrap();
    assert_eq!(data.bytes.as_ptr(), raw.as_ptr());
    assert_eq!(data.shape, [2]);
}

#[test]
fn every_typed_field_decodes() {
    let mut t = tensor(ElemType::F32, &[2]);
    t.float_data = vec![1.5, -2.0];
    assert_eq!(bytes_of(&t), [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]);
    let mut t = tensor(ElemType::Complex64, &[1]);
    t.float_data = vec![1.5, -2.0];
    assert_eq!(bytes_of(&t), [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]);
    let mut t = tensor(ElemType::F64, &[]);
    t.double_data = vec![-2.0];
    assert_eq!(bytes_of(&t), (-2.0f64).to_le_bytes());
    let mut t = tensor(ElemType::I64, &[1, 1]);
    t.int64_data = vec![-3];
    assert_eq!(bytes_of(&t), (-3i64).to_le_bytes());
    let mut t = tensor(ElemType::U64, &[1]);
    t.uint64_data = vec![u64::MAX];
    assert_eq!(bytes_of(&t), [0xff; 8]);
    let mut t = tensor(ElemType::U32, &[1]);
    t.uint64_data = vec![7];
    assert_eq!(bytes_of(&t), [7, 0, 0, 0]);
}

#[test]
fn int32_data_narrows() {
    let cases: [(ElemType, i32, &[u8]); 10] = [
        (ElemType::I32, -2, &[0xfe, 0xff, 0xff, 0xff]),
        (ElemType::I16, -2, &[0xfe, 0xff]),
        (ElemType::U16, 0xfffe, &[0xfe, 0xff]),
        (ElemType::F16, 0x3c00, &[0x00, 0x3c]),
        (ElemType::Bf16, 0x3f80, &[0x80, 0x3f]),
        (ElemType::I8, -2, &[0xfe]),
        (ElemType::U8, 254, &[0xfe]),
        (ElemType::Bool, 1, &[1]),
        (ElemType::F8E4M3Fn, 0x7e, &[0x7e]),
        (ElemType::F8E8M0, 0xfe, &[0xfe]),
    ];
    for (dtype, value, bytes) in cases {
        let mut t = tensor(dtype, &[1]);
        t.int32_data = vec![value];
        assert_eq!(bytes_of(&t), bytes, "{}", dtype.name());
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for (dtype, value) in [
        (ElemType::I16, 0x8000),
        (ElemType::U16, -1),
        (ElemType::I8, 128),
        (ElemType::U8, 256),
        (ElemType::Bool, 2),
        (ElemType::F6E2M3, 64),
    ] {
        let mut t = tensor(dtype, &[1]);
        t.int32_data = vec![value];
        assert!(problem_of(&t).contains("does not fit"), "{}", dtype.name());
    }
    let mut t = tensor(ElemType::U32, &[1]);
    t.uint64_data = vec![1 << 32];
    assert!(problem_of(&t).contains("does not fit"));
    let mut t = tensor(ElemType::Bool, &[1]);
    t.raw_data = Some(Bytes::from_static(&[2]));
    assert!(problem_of(&t).contains("neither 0 nor 1"));
}

#[test]
fn narrow_elements_stay_packed_and_unpack() {
    let mut t = tensor(ElemType::I4, &[3]);
    t.int32_data = vec![0x7f, 0x08]; // -1, 7, -8
    let data = store().decode(&t, "test").unwrap();
    assert_eq!(&data.bytes[..], [0x7f, 0x08]);
    let wide = data.unpacked().unwrap();
    assert_eq!(wide.dtype, ElemType::I8);
    assert_eq!(&wide.bytes[..], [0xff, 7, 0xf8]);

    let mut t = tensor(ElemType::U4, &[3]);
    t.raw_data = Some(Bytes::from_static(&[0x7f, 0x08]));
    let wide = store().decode(&t, "test").unwrap().unpacked().unwrap();
    assert_eq!(
        (wide.dtype, &wide.bytes[..]),
        (ElemType::U8, &[15, 7, 8][..])
    );

    let mut t = tensor(ElemType::I2, &[5]);
    t.raw_data = Some(Bytes::from_static(&[0b11_10_01_00, 0b10]));
    let wide = store().decode(&t, "test").unwrap().unpacked().unwrap();
    assert_eq!(&wide.bytes[..], [0, 1, 0xfe, 0xff, 0xfe]);

    let mut t = tensor(ElemType::F6E3M2, &[5]);
    t.int32_data = vec![0x3f, 0, 0x2a, 0x15, 0x21];
    let data = store().decode(&t, "test").unwrap();
    assert_eq!(data.bytes.len(), 4);
    let wide = data.unpacked().unwrap();
    assert_eq!(&wide.bytes[..], [0x3f, 0, 0x2a, 0x15, 0x21]);
}

#[test]
fn counts_must_agree_with_the_shape() {
    let mut t = tensor(ElemType::F32, &[2, 2]);
    t.raw_data = Some(Bytes::from_static(&[0; 12]));
    assert!(problem_of(&t).contains("FLOAT[2,2] needs 16 bytes, but 12 are stored"));
    t.raw_data = None;
    assert!(problem_of(&t).contains("needs 4 stored numbers, but 0 are stored"));
    t.float_data = vec![0.0; 5];
    assert!(problem_of(&t).contains("but 5 are stored"));
    let mut t = tensor(ElemType::F32, &[0, 7]);
    t.raw_data = Some(Bytes::new());
    assert!(bytes_of(&t).is_empty());
}

#[test]
fn fields_of_another_type_are_refused() {
    let mut t = tensor(ElemType::F32, &[1]);
    t.int64_data = vec![1];
    assert!(problem_of(&t).contains("int64_data"));
    t.raw_data = Some(Bytes::from_static(&[0; 4]));
    assert!(problem_of(&t).contains("int64_data"));
}

#[test]
fn dimensions_are_checked() {
    let negative = tensor(ElemType::F32, &[3, -1]);
    assert!(problem_of(&negative).contains("dimension 1 is negative"));
    for dims in [&[i64::MAX][..], &[1 << 40, 1 << 40], &[1 << 40, 1 << 40, 0]] {
        let error = store()
            .decode(&tensor(ElemType::F32, dims), "test")
            .unwrap_err();
        assert_eq!(error.exit_code(), 5, "{error}");
    }
    let error = store().decode(&tensor(ElemType::F32, &[1; 65]), "test");
    assert_eq!(error.unwrap_err().exit_code(), 5);
}

#[test]
fn strings_decode_apart() {
    let mut t = tensor(ElemType::String, &[2]);
    t.string_data = vec![Bytes::from_static(b"a"), Bytes::from_static(b"bc")];
    assert_eq!(store().strings(&t, "test").unwrap().strings.len(), 2);
    assert!(problem_of(&t).contains("strings where numbers"));
    t.dims = vec![3];
    let error = store().strings(&t, "test").unwrap_err().to_string();
    assert!(error.contains("needs 3 strings, but 2"), "{error}");
}

fn sparse(indices: &[i64], index_dims: &[i64]) -> SparseTensorProto {
    let mut values = tensor(ElemType::U8, &[2]);
    values.raw_data = Some(Bytes::from_static(&[5, 6]));
    let mut positions = tensor(ElemType::I64, index_dims);
    positions.int64_data = indices.to_vec();
    SparseTensorProto {
        values: Some(values),
        indices: Some(positions),
        dims: vec![2, 3],
    }
}

#[test]
fn sparse_tensors_become_dense() {
    let dense = [0, 5, 0, 0, 0, 6];
    for s in [sparse(&[1, 5], &[2]), sparse(&[0, 1, 1, 2], &[2, 2])] {
        let data = store().dense(&s, "test").unwrap();
        assert_eq!(
            (&data.bytes[..], &data.shape[..]),
            (&dense[..], &[2, 3][..])
        );
    }
}

#[test]
fn bad_sparse_indices_are_refused() {
    for s in [
        sparse(&[1, 6], &[2]),
        sparse(&[-1, 5], &[2]),
        sparse(&[5, 1], &[2]),
        sparse(&[1, 1], &[2]),
        sparse(&[0, 3, 1, 2], &[2, 2]),
        sparse(&[0, 1, 1, 2], &[4]),
        sparse(&[0, 1], &[1, 2]),
    ] {
        let error = store().dense(&s, "test").unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
    }
}
