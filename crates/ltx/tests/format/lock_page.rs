//! W36: databases that cross the lock page.

use ltx::{Decoder, Encoder, Error, FrameEncoding, PageNo, merge};

use crate::common::{Content, decode, header, page_no, size, texture};

#[test]
fn w36_increments_around_the_lock_page_for_every_page_size() {
    for shift in 9..=16 {
        let page_size = 1 << shift;
        let lock = size(page_size).lock_page().get();
        let pages = [lock - 1, lock + 1]
            .map(|n| (n, texture(page_size, n)))
            .into();
        let mut content = Content::new(header(page_size, lock + 1, 2, 2), pages);
        let file = content.encode();
        assert_eq!(decode(&file).unwrap(), content);

        content.pages.insert(lock, texture(page_size, 1));
        assert!(matches!(content.try_encode(), Err(Error::LockPage { page }) if page == lock));
        let with_lock_page = content.encode_by_hand(|_| FrameEncoding::Block);
        assert!(matches!(decode(&with_lock_page), Err(Error::LockPage { page }) if page == lock));
    }
}

#[test]
fn w36_a_snapshot_and_a_merge_across_the_lock_page() {
    let page_size = size(65536);
    let lock = page_size.lock_page();
    let commit = lock.get() + 3;
    let data = vec![0; page_size.bytes()];
    let mut encoder = Encoder::new(Vec::new(), header(65536, commit, 1, 1)).unwrap();
    for number in (1..=commit).filter(|&n| n != lock.get()) {
        encoder.write_page(page_no(number), &data).unwrap();
    }
    let (snapshot, written) = encoder.finish(0).unwrap();
    assert_eq!(written.page_count, commit - 1);

    let changed = [lock.get() - 1, lock.get() + 1]
        .map(|n| (n, texture(65536, n)))
        .into();
    let increment = Content::new(header(65536, commit, 2, 2), changed);
    let file = increment.encode();
    let inputs = vec![
        Decoder::new(&snapshot[..]).unwrap(),
        Decoder::new(&file[..]).unwrap(),
    ];
    let (merged, ..) = merge(inputs, Vec::new()).unwrap();

    let mut decoder = Decoder::new(&merged[..]).unwrap();
    let mut page = data.clone();
    let mut last = 0;
    while let Some(number) = decoder.next_page(&mut page).unwrap().map(PageNo::get) {
        assert_eq!(
            number,
            if last + 1 == lock.get() {
                last + 2
            } else {
                last + 1
            }
        );
        assert!(
            page == *increment.pages.get(&number).unwrap_or(&data),
            "{number}"
        );
        last = number;
    }
    assert_eq!(last, commit);
    decoder.finish().unwrap();
}
